"""Which scans share an image file of `data/`: remembered in the run, so that added scans add files and move nothing."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence

from mrigen.config import DataConfig
from mrigen.preprocess import needs_brain
from mrigen.preprocess.stripper import stripper_version
from mrigen.sources.scans import Scan
from mrigen.storage import Location

FORMAT = 6
"""Raised whenever the same scans and settings come to give other images, so that old files are made anew."""

MAX_SCANS = 16
MAX_FILE_BYTES = 1 << 28

ScanGroup = Mapping[Scan, str]
"""Scans whose images share a file, each with the hash of its content."""


def scan_key(scan: Scan, content: str) -> str:
    """What names one scan: a hash of its content and of all that is told of it, but not of where it lies."""
    told = [content, scan.subject, scan.session, scan.source, scan.pathology, scan.modality, scan.licence]
    return _digest([*told, scan.frame, scan.orientation, scan.split])[:24]


def group_key(group: ScanGroup, data: DataConfig) -> str:
    """What names the image file of some scans: a hash of the scans' keys, of the settings, and of the skull-stripper
    that is installed, where it counts."""
    keys = [scan_key(scan, content) for scan, content in group.items()]
    stripper = stripper_version() if needs_brain(data) and not data.strip_command else ""
    return _digest([FORMAT, data.model_dump(mode="json"), keys, stripper])[:16]


def _digest(tree: object) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def scans_per_group(data: DataConfig) -> int:
    """As many scans as make a file of a handy size: fewer where each gives a large volume."""
    pixels = math.prod(data.image_shape)
    low, high = data.slice_range_mm
    images = 1 if data.spatial_dims == 3 else 1 + int((high - low) / data.slice_step_mm)
    return max(1, min(MAX_SCANS, MAX_FILE_BYTES // (2 * pixels * images)))


def group_scans(scans: Iterable[Scan], target: int = MAX_SCANS) -> list[list[Scan]]:
    """Cut scans into groups of whole subjects, by sorted subject, each with `target` scans or a few more."""
    groups: list[list[Scan]] = []
    for scan in sorted(scans, key=lambda scan: (scan.subject, scan.path, scan.frame or 0)):
        whole = groups and len(groups[-1]) >= target and groups[-1][-1].subject != scan.subject
        if not groups or whole:
            groups.append([])
        groups[-1].append(scan)
    return groups


def regroup_scans(kept: ScanGroup, stored: Sequence[Sequence[str]], target: int) -> list[dict[Scan, str]]:
    """Group all scans: first those of the `stored` groups (keys of scans, group by group), as they were.

    Scans that are gone leave their group, and new ones make groups of their own.
    """
    left = {scan_key(scan, content): scan for scan, content in kept.items()}
    known = [[left.pop(key) for key in keys if key in left] for keys in stored]
    groups = [*filter(None, known), *group_scans(left.values(), target)]
    return [{scan: kept[scan] for scan in group} for group in groups]


def _groups_file(run: Location) -> Location:
    return run / "data" / "_parts" / "plan.json"


def read_groups(run: Location) -> list[list[str]]:
    """The groups that are stored in a run: the keys of each one's scans; empty if there are none."""
    file = _groups_file(run)
    groups: list[list[str]] = file.read_json() if file.is_file() else []
    return groups


def store_groups(run: Location, groups: Iterable[ScanGroup]) -> None:
    """Store the groups, unless they stand already."""
    keys = [[scan_key(scan, content) for scan, content in group.items()] for group in groups]
    if keys != read_groups(run):
        _groups_file(run).write_json(keys)
