"""The samples of a shard as a BIDS derivative: a NIfTI file each, with a sidecar that tells how to make it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from mrigen.bids_names import bids_path
from mrigen.cohort.plan import SampleRow
from mrigen.samples import Sample
from mrigen.volume import SYNTHETIC_DESCRIPTION, nifti_bytes


def image_path(row: SampleRow) -> str:
    """Where a sample's image stands in the data set."""
    return bids_path(row.subject, row.kind.cell.modality, description="synth")


def bids_files(rows: Sequence[SampleRow], samples: Sequence[Sample]) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file."""
    for row, sample in zip(rows, samples, strict=True):
        path = image_path(row)
        told = {"SkullStripped": True} if sample.of_stripped_head else {}
        sidecar = {"Modality": "MR", **told, "SyntheticImage": True, "Provenance": sample.provenance()}
        yield path.removesuffix(".nii.gz") + ".json", (json.dumps(sidecar, indent=2) + "\n").encode()
        yield path, nifti_bytes(sample.volume(), description=SYNTHETIC_DESCRIPTION)
