"""What is answered: an image as a file of the format asked for, or many of them as one archive.

Every file says by itself that it is synthetic, and of which model and seed; the same sample gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.serve.api import Format, Order
from mrigen import __version__
from mrigen.config.model import SamplerConfig, setting_text
from mrigen.pictures import SYNTHETIC_TEXT, sample_png
from mrigen.volume import nifti_bytes

if TYPE_CHECKING:
    from mrigen.samples import Sample

SUFFIXES: Mapping[Format, str] = {"nifti": ".nii.gz", "png": ".png", "npy": ".npy"}
MEDIA_TYPES: Mapping[Format, str] = {
    "nifti": "application/octet-stream",  # generated clients drop application/gzip
    "png": "image/png",
    "npy": "application/octet-stream",
}
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_DESCRIPTION_LIMIT = 79


@dataclass(frozen=True)
class SampleFile:
    """One sample as a file, with where it came from."""

    name: str
    data: bytes
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """The files of an order, and what it took to make them."""

    files: Sequence[SampleFile]
    compute_s: float
    """Seconds of the compute batches that its samples were in, other orders' samples beside them."""
    num_batches: int
    """How many of them there were."""
    encode_s: float
    """Seconds in which its files were written."""
    num_places: float
    """Places of these batches, filled or not, that fall to its samples: of a full batch one for each."""


def sample_file(sample: Sample, order: Order, index: int) -> SampleFile:
    """Sample `index` of an order as a file."""
    provenance = sample.provenance() | {"request_seed": order.seed, "index": index}
    if order.format == "nifti":
        data = nifti_bytes(sample.volume(), description=nifti_description(provenance))
    elif order.format == "png":
        data = sample_png(sample.image, provenance)
    else:
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(sample.image, np.float32), allow_pickle=False)
        data = buffer.getvalue()
    return SampleFile(f"{stem(order)}_{index:03d}{SUFFIXES[order.format]}", data, provenance)


def stem(order: Order) -> str:
    """How the names of an order's files begin."""
    return f"synthetic_{order.cell.pathology}_{order.cell.modality}_seed{order.seed}"


def nifti_description(provenance: Mapping[str, Any]) -> str:
    """The header's `descrip`: synthetic, model, seed, and the sampler where its 79 characters have room for it."""
    made = f"synthetic mrigen {__version__} {provenance['model_sha256'][:8]} seed {provenance['seed']}"
    sampler = f" {'/'.join(setting_text(provenance[name]) for name in SamplerConfig.model_fields)}"
    return made + sampler if len(made + sampler) <= _DESCRIPTION_LIMIT else made[:_DESCRIPTION_LIMIT]


def archive(files: Sequence[SampleFile]) -> bytes:
    """A zip of the files with `index.json`, which holds each one's provenance and SHA-256; always the same bytes."""
    entries = [
        {"file": file.name, "sha256": hashlib.sha256(file.data).hexdigest(), **file.provenance} for file in files
    ]
    index = {"synthetic": True, "notice": SYNTHETIC_TEXT, "samples": entries}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in [("index.json", (json.dumps(index, indent=2, allow_nan=False) + "\n").encode())] + [
            (file.name, file.data) for file in files
        ]:
            zipped.writestr(zip_entry(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def zip_entry(name: str) -> zipfile.ZipInfo:
    """An entry of an archive, without a time, so that the same content gives the same bytes."""
    entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry


def provenance_headers(files: Sequence[SampleFile]) -> dict[str, str]:
    """HTTP headers with all that the files of one answer have in common: `X-Mrigen-Synthetic` and so on."""
    shared = {
        key: value
        for key, value in files[0].provenance.items()
        if all(file.provenance[key] == value for file in files) and value is not None
    }
    renamed = {"seed": "sample-seed", "request_seed": "seed"}
    return {
        f"X-Mrigen-{renamed.get(key, key).replace('_', '-').title()}": json.dumps(value).strip('"')
        for key, value in shared.items()
    }
