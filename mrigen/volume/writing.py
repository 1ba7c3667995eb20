"""Writing a volume as a NIfTI file."""

from __future__ import annotations

import gzip
import io
from typing import Any

import nibabel
import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrigen import __version__
from mrigen.volume.scan import Volume

SYNTHETIC_DESCRIPTION = f"synthetic, mrigen {__version__}: not a scan of a person"
"""The mark that every image of ours carries in its NIfTI header (`descrip`, at most 79 characters)."""

_ALIGNED = 2


def nifti_bytes(volume: Volume, *, description: str, dtype: DTypeLike = np.float32) -> bytes:
    """A `.nii.gz` file: the same volume gives the same bytes.

    The header is new: sform and qform (code 2, aligned), millimetres, the range of values for viewers, and
    `description`, of at most 79 ASCII characters. Integer `dtype` rounds; values must fit it.

    Raises ValueError if the description is too long, or values do not fit `dtype`.
    """
    text = description.encode("ascii")
    if len(text) > 79:
        raise ValueError(f"description of {len(text)} characters, at most 79 fit: {description!r}")
    array: NDArray[Any] = volume.array
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        array = np.rint(array)
        limits = np.iinfo(kind)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise ValueError(f"values {array.min():g} to {array.max():g} do not fit {kind}")
    image = nibabel.Nifti1Image(array.astype(kind), volume.affine, dtype=kind)
    image.set_sform(volume.affine, code=_ALIGNED)
    image.set_qform(volume.affine, code=_ALIGNED)
    header = image.header
    header.set_xyzt_units("mm")
    header["descrip"] = text
    header["cal_min"], header["cal_max"] = float(array.min()), float(array.max())
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as stream:
        stream.write(image.to_bytes())
    return buffer.getvalue()
