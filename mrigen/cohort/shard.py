"""A shard, the unit of work: its samples as NIfTI with sidecars, its part of the manifest last."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrigen.bids_names import bids_path
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.pipeline import Pipeline, Sample, SampleRequest
from mrigen.records import read_file, sample_schema, to_table, write_table
from mrigen.storage import Location
from mrigen.volume import SYNTHETIC_DESCRIPTION, nifti_bytes


def manifest_part(folder: Location, shard: int) -> Location:
    """Where the manifest of a shard stands, once all its files do."""
    return folder / "manifest" / f"shard-{shard:06d}.parquet"


def make_shard(
    pipeline: Pipeline,
    rows: Sequence[Mapping[str, Any]],
    sampler: SamplerConfig,
    slice_mm: float | None,
    folder: Location,
) -> dict[str, int]:
    """Generate the samples of a shard's plan `rows` into `folder`; gives the number of samples a cell.

    A shard that stands there whole, by the hashes of its manifest, is left as it is. Work is idempotent: done
    twice, or by two workers at once, it leaves the same bytes.
    """
    shard = int(rows[0]["shard"])
    part = manifest_part(folder, shard)
    if not _is_whole(part, folder, [str(row["id"]) for row in rows]):
        requests = [
            SampleRequest(
                Cell(Pathology(row["pathology"]), Modality(row["modality"])), int(row["seed"]), sampler, slice_mm
            )
            for row in rows
        ]
        samples = pipeline.sample(requests)
        records = [_write_sample(row, sample, folder) for row, sample in zip(rows, samples, strict=True)]
        shape = samples[0].image.shape
        write_table(to_table(records, sample_schema(shape)), part)
    return dict(Counter(f"{row['pathology']}:{row['modality']}" for row in rows))


def _is_whole(part: Location, folder: Location, ids: Sequence[str]) -> bool:
    """Whether a manifest part stands, lists these samples, and every file is there with its hash."""
    if not part.is_file():
        return False
    try:
        written = read_file(part, ["id", "path", "file_sha256"]).to_pylist()
    except InputError:
        return False
    if [row["id"] for row in written] != list(ids):
        return False
    files = [(folder / row["path"], row["file_sha256"]) for row in written]
    return all(file.is_file() and file.sha256() == digest and _sidecar(file).is_file() for file, digest in files)


def _sidecar(file: Location) -> Location:
    return file.at(file.path.removesuffix(".nii.gz") + ".json")


def _write_sample(row: Mapping[str, Any], sample: Sample, folder: Location) -> dict[str, Any]:
    """Publish one sample and its sidecar; gives its row of the manifest."""
    path = bids_path(str(row["id"]), sample.request.cell.modality, description="synth")
    data = nifti_bytes(sample.volume(), description=SYNTHETIC_DESCRIPTION)
    provenance = sample.provenance()
    sidecar = {"Modality": "MR", "SkullStripped": True, "SyntheticImage": True, "Provenance": provenance}
    file = folder / path
    _sidecar(file).write_bytes((json.dumps(sidecar, indent=2) + "\n").encode())
    file.write_bytes(data)
    fields = (*SamplerConfig.model_fields, "model_sha256", "trained_cell", "slice_mm")
    return {
        **{name: row[name] for name in ("id", "shard", "pathology", "modality", "index", "seed")},
        **{name: provenance[name] for name in fields},
        "path": path,
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "image": sample.image.astype(np.float16),
    }
