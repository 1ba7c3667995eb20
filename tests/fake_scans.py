"""Small scans made up here, and trees of them as users have on disk: for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mrigen.labels import Modality, Pathology
from mrigen.sources.options import Source, SourceOptions
from mrigen.sources.recognise import FoundScans, find_all_scans
from mrigen.sources.scans import Scan
from mrigen.storage import Location
from mrigen.volume import Volume, nifti_bytes

SPACING_MM = 4.0


def made_up_scan(seed: int, *, stripped: bool = True) -> Volume:
    """A blurred brain of an ellipsoid, alone or within skin and noisy air, (48, 56, 48) of 4 mm."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(SPACING_MM * (np.arange(n) - (n - 1) / 2) for n in (48, 56, 48)), indexing="ij")
    radius = np.sqrt((x / 64) ** 2 + (y / 78) ** 2 + (z / 60) ** 2)
    array = 400 + x + 2 * z + rng.normal(0, 10, x.shape)
    if stripped:
        array[radius > 1] = 0
    else:
        array[radius > 1] = 100
        array[radius > 1.12] = 600
        air = radius > 1.3
        array[air] = np.abs(rng.normal(0, 5, int(air.sum())))
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = [-94, -110, -94]
    return Volume(array.astype(np.float32), affine)


def write_scan(path: Path, seed: int, *, stripped: bool = True) -> Path:
    """A made-up scan as a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nifti_bytes(made_up_scan(seed, stripped=stripped), description="made up", dtype=np.int16))
    return path


def write_bids(
    root: Path, participants: Mapping[str, str], suffixes: tuple[str, ...] = ("T1w", "FLAIR"), *, first: int = 0
) -> Path:
    """A BIDS tree: subject -> what `participants.tsv` says ails it; every subject has every suffix.

    Scans differ from those of a tree with another `first`.
    """
    for number, subject in enumerate(participants, start=first):
        for place, suffix in enumerate(suffixes):
            write_scan(root / f"sub-{subject}/anat/sub-{subject}_{suffix}.nii.gz", 100 * number + place)
    rows = "".join(f"sub-{subject}\t{told}\n" for subject, told in participants.items())
    root.mkdir(exist_ok=True)
    (root / "participants.tsv").write_text("participant_id\tdiagnosis\n" + rows)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "made up", "BIDSVersion": "1.10.0", "License": "CC0"})
    )
    return root


def touch(root: Path, *paths: str) -> Location:
    """Empty files below a folder, with the folders that they need."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return Location.parse(root)


def found(place: Path | Location, **options: object) -> FoundScans:
    """What is found in one source."""
    folder = place if isinstance(place, Location) else Location.parse(place)
    return find_all_scans([Source(folder, SourceOptions.model_validate(options))])


def kind_of(table: FoundScans) -> str:
    """What the one source was recognised as, in a line."""
    (kinds,) = table.kinds
    return ", ".join(kinds)


def scan_at(
    path: Path | str,
    subject: str = "a",
    *,
    pathology: Pathology = Pathology.SCLEROSIS,
    modality: Modality = Modality.T1W,
    session: str = "",
    source: str = "set",
    split: str = "",
) -> Scan:
    """A scan in a list of scans."""
    return Scan(str(path), subject, session, source, pathology, modality, "CC0", split=split)
