"""What every source of scans comes to: a table of scans, and the files that were left out with their reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from mrigen.labels import Modality, Pathology
from mrigen.storage import Location

NIFTI_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Scan:
    """One image of one subject.

    `path` is a path on the source's filesystem: a NIfTI file, the `.hdr` of an Analyze or NIfTI pair, or the folder of
    a DICOM series.
    """

    path: str
    subject: str
    session: str
    source: str
    pathology: Pathology
    modality: Modality
    licence: str
    frame: int | None = None
    # place along the fourth axis of a 4-D file that holds several contrasts
    mask: str = ""
    # a brain mask's path, where one was given or found beside the scan
    orientation: str = ""
    # axes of an Analyze file, such as LAS
    origin: int = 0
    # which of the sources of one call the scan is from


@dataclass(frozen=True)
class Rejected:
    """A file that is not used: why, in one line, and the class of fault (`label`, `name`, a VolumeError's fault)."""

    path: str
    reason: str
    fault: str


@dataclass(frozen=True)
class ScanTable:
    """What a source holds; `kind` says in words how it was understood."""

    kind: str
    scans: tuple[Scan, ...]
    rejected: tuple[Rejected, ...] = ()


def nifti_files(folder: Location) -> list[str]:
    """The NIfTI files below `folder` as paths relative to it, sorted; hidden folders are left out."""
    start = len(folder.path.rstrip("/")) + 1
    paths = [file.path[start:] for file in folder.files() if file.path.endswith(NIFTI_SUFFIXES)]
    return [path for path in paths if not any(part.startswith(".") for part in path.split("/"))]


def group_scans(scans: Iterable[Scan], target: int = 16) -> list[list[Scan]]:
    """Cut scans into groups of whole subjects, by sorted subject, each with `target` scans or a few more."""
    groups: list[list[Scan]] = []
    for scan in sorted(scans, key=lambda scan: (scan.subject, scan.path)):
        whole = groups and len(groups[-1]) >= target and groups[-1][-1].subject != scan.subject
        if not groups or whole:
            groups.append([])
        groups[-1].append(scan)
    return groups


def drop_unusable(scans: Sequence[Scan], digests: Sequence[str]) -> tuple[dict[Scan, str], list[Rejected]]:
    """Scans with the hash of their file, and those left out.

    Left out are files whose hash is empty (they cannot be read), copies of an earlier file, and all copies of a file
    that goes under two labels, since nobody can tell which is right.
    """
    copies: dict[str, list[Scan]] = {}
    for scan, digest in zip(scans, digests, strict=True):
        copies.setdefault(digest, []).append(scan)
    kept: dict[Scan, str] = {}
    rejected: list[Rejected] = []
    for scan, digest in zip(scans, digests, strict=True):
        same = copies[digest]
        other = next((one for one in same if (one.pathology, one.modality) != (scan.pathology, scan.modality)), None)
        if not digest:
            rejected.append(Rejected(scan.path, f"{scan.path}: no such file, or it cannot be read", "missing"))
        elif other:
            told = f"the same file as {other.path}, which is {other.pathology} {other.modality}"
            rejected.append(Rejected(scan.path, f"{scan.path}: {scan.pathology} {scan.modality}, but {told}", "label"))
        elif scan is not same[0]:
            rejected.append(Rejected(scan.path, f"{scan.path}: the same file as {same[0].path}", "duplicate"))
        else:
            kept[scan] = digest
    return kept, rejected


def scan_from_json(tree: dict[str, str]) -> Scan:
    """The scan that `asdict` and JSON turned into `tree`."""
    labels = {"pathology": Pathology(tree["pathology"]), "modality": Modality(tree["modality"])}
    return Scan(**{**tree, **labels})  # type: ignore[arg-type]


def scans_key(scans: Mapping[Scan, str], settings: object) -> str:
    """What names the images of some scans: a hash of their files' content, their labels and the settings."""
    rows = [{**asdict(scan), "path": None, "sha256": digest} for scan, digest in scans.items()]
    text = json.dumps([rows, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
