"""Headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files.

nibabel accepts much that is no scan, so each field that matters is checked here and told in one line.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from mrigen.errors import InputError
from mrigen.volume.checks import check_affine, check_shape, check_spacing
from mrigen.volume.scan import Affine, ScanHeader, VolumeError

HEADER_BYTES = 540
"""The longest of the headers, that of NIfTI-2."""
_MAX_EXTENSION_BYTES = 1 << 26
_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def is_pair(path: Path) -> bool:
    """Whether a file's name is that of a header whose voxels are in another file."""
    return path.suffix.casefold() == ".hdr"


def parse_header(head: bytes, path: Path, *, min_voxels: int, orientation: str) -> ScanHeader:
    """Read the first `HEADER_BYTES` of a file. `orientation` names the axes of an Analyze file, such as LAS.

    Analyze (Mayo Clinic) has no origin either: the centre of the grid is put at 0.

    Raises VolumeError if they are no header, or one that no scan can have. Raises InputError if `orientation` does not
    name three axes.
    """
    fields = _fields(head, path)
    shape = _shape(fields, path)
    num_frames = shape.pop() if len(shape) == 4 else 1
    grid = check_shape(shape, path, min_voxels)
    if num_frames < 1:
        raise VolumeError(f"{path}: {num_frames} frames in the header", "dimensions")
    dtype = _dtype(fields, path)
    if isinstance(fields, nibabel.Nifti1Header):
        slope, intercept = _scaling(fields, path)
        affine = _affine(fields, path)
    else:
        slope, intercept = 1.0, 0.0
        affine = _affine_of_axes(fields, grid, path, orientation)
    tells_axes = isinstance(fields, nibabel.Nifti1Header)
    return ScanHeader(grid, affine, dtype, num_frames, tells_axes, _offset(fields, path), slope, intercept)


def _fields(head: bytes, path: Path) -> Any:
    """nibabel's header of the kind that the size and the magic tell, in the byte order of the size."""
    sign, size = _byte_order_and_size(head)
    if not size:
        raise VolumeError(f"{path}: not a NIfTI file")
    if len(head) < size:
        raise VolumeError(f"{path}: truncated: {len(head)} of {size} bytes of its header", "truncated")
    kind, magic = (nibabel.Nifti1Header, head[344:347]) if size == 348 else (nibabel.Nifti2Header, head[4:7])
    if magic in (b"n+1", b"n+2"):
        if is_pair(path):
            raise VolumeError(f"{path}: header and voxels in one file: name it .nii")
    elif not is_pair(path):
        told = "header of a .hdr/.img pair: name it .hdr" if magic in (b"ni1", b"ni2") else "not a NIfTI file"
        raise VolumeError(f"{path}: {told}")
    elif magic not in (b"ni1", b"ni2"):
        if size != 348:
            raise VolumeError(f"{path}: not a NIfTI or Analyze header")
        kind = nibabel.AnalyzeHeader
    return kind(head[:size], endianness=sign, check=False)


def _byte_order_and_size(head: bytes) -> tuple[str, int]:
    """numpy's sign for the byte order, and the header's length by its own field, 0 if that makes no sense."""
    for sign in "<>":
        size = int(np.frombuffer(head[:4].ljust(4, b"\0"), f"{sign}i4")[0])
        if size in (348, 540):
            return sign, size
    return "<", 0


def _shape(fields: Any, path: Path) -> list[int]:
    """Sizes along each axis, without trailing axes of 1."""
    count = int(fields["dim"][0])
    if not 1 <= count <= 7:
        raise VolumeError(f"{path}: {count} dimensions in the header", "dimensions")
    shape = [int(size) for size in fields["dim"][1 : count + 1]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return shape


def _dtype(fields: Any, path: Path) -> np.dtype[Any]:
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    try:
        dtype: np.dtype[Any] = fields.get_data_dtype()
    except (HeaderDataError, KeyError):
        raise VolumeError(f"{path}: unknown datatype {code} in the header", "type") from None
    if not dtype.itemsize:
        raise VolumeError(f"{path}: datatype {code} in the header: voxels of no size", "type")
    if dtype.kind not in "iuf":
        kind = "complex numbers" if dtype.kind == "c" else "colours"
        raise VolumeError(f"{path}: voxels are {kind}, datatype {code}: a scan has one real value each", "type")
    if bits != 8 * dtype.itemsize:
        raise VolumeError(f"{path}: datatype {code} ({dtype.name}) but bitpix {bits} in the header", "type")
    return dtype


def _offset(fields: Any, path: Path) -> int:
    offset = float(fields["vox_offset"])
    least = 0 if is_pair(path) else fields.single_vox_offset
    if not (least <= offset <= _MAX_EXTENSION_BYTES and offset.is_integer()):
        raise VolumeError(f"{path}: vox_offset {offset:g} in the header is not a place for voxels")
    return int(offset)


def _scaling(fields: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept. A `scl_slope` of 0 means that values are not scaled, as the NIfTI standard has it."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if not math.isfinite(slope) or (slope != 0 and not math.isfinite(intercept)):
        raise VolumeError(f"{path}: scl_slope {slope}, scl_inter {intercept} in the header", "voxels")
    return (slope, intercept) if slope else (1.0, 0.0)


def _affine(fields: Any, path: Path) -> Affine:
    """The sform where there is one, else the qform."""
    sform, qform = int(fields["sform_code"]), int(fields["qform_code"])
    if sform <= 0 and qform <= 0:
        raise VolumeError(f"{path}: no orientation: sform_code and qform_code are 0", "geometry")
    _check_pixdim(fields, path)
    if sform > 0:
        return check_affine(np.asarray(fields.get_sform(), np.float64), path, "sform")
    try:
        affine = np.asarray(fields.get_qform(), np.float64)
    except (ValueError, HeaderDataError, np.linalg.LinAlgError) as error:
        raise VolumeError(f"{path}: unusable qform: {' '.join(str(error).split())}", "geometry") from None
    return check_affine(affine, path, "qform")


def _check_pixdim(fields: Any, path: Path) -> list[float]:
    spacing_mm = [abs(float(length)) for length in fields["pixdim"][1:4]]
    check_spacing(spacing_mm, path, "pixdim")
    return spacing_mm


def _affine_of_axes(fields: Any, shape: tuple[int, int, int], path: Path, orientation: str) -> Affine:
    axes = [_AXES.get(letter, (-1, 0)) for letter in orientation]
    if sorted(axis for axis, _ in axes) != [0, 1, 2]:
        raise InputError(f"orientation {orientation!r}: three letters say where the axes point, such as LAS")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for column, ((row, sign), spacing) in enumerate(zip(axes, _check_pixdim(fields, path), strict=True)):
        affine[row, column] = sign * spacing
        affine[row, 3] = -sign * spacing * (shape[column] - 1) / 2
    return check_affine(affine, path, "pixdim")
