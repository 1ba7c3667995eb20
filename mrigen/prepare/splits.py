"""Who is held out: train, val and test in equal shares of every pathology, remembered in the run."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.labels import Pathology
from mrigen.prepare.survey import ScanFacts
from mrigen.sources.scans import Scan
from mrigen.storage import Location

FEW = 3
"""Subjects of a pathology from which on it has one in each split."""

SubjectSplits = Mapping[str, str]
"""Subject -> `train`, `val` or `test`."""


def with_splits(facts: Mapping[Scan, ScanFacts], stored: SubjectSplits, data: DataConfig) -> dict[Scan, ScanFacts]:
    """The facts of scans that tell their split. Raises InputError as `split_subjects`."""
    splits = split_subjects(facts, stored, data)
    told = ((replace(scan, split=splits[scan.subject]), fact) for scan, fact in facts.items())
    return {scan: replace(fact, scan=scan) for scan, fact in told}


def split_subjects(scans: Iterable[Scan], stored: SubjectSplits, data: DataConfig) -> dict[str, str]:
    """The split of every subject: what its scans tell, else what is `stored`, else by the shares of its pathology.

    New subjects fill, in the order of a hash of their names, what is wanting of test and val; the others train. Those
    with scans of several pathologies count as a kind of their own.

    Raises InputError if a subject is told to be in two splits.
    """
    pathologies: dict[str, set[Pathology]] = defaultdict(set)
    told: dict[str, str] = {}
    for scan in scans:
        pathologies[scan.subject].add(scan.pathology)
        if scan.split and told.setdefault(scan.subject, scan.split) != scan.split:
            raise InputError(f"subject {scan.subject} is told to be in {told[scan.subject]} and in {scan.split}")
    splits = {subject: stored[subject] for subject in pathologies if subject in stored} | told
    alike: dict[tuple[Pathology, ...], list[str]] = defaultdict(list)
    for subject, found in pathologies.items():
        alike[tuple(sorted(found))].append(subject)
    for subjects in alike.values():
        taken = Counter(splits[subject] for subject in subjects if subject in splits)
        new = sorted((subject for subject in subjects if subject not in splits), key=_position)
        wanted = held_out_counts(len(subjects), data)
        wanting = [split for split in ("test", "val") for _ in range(wanted[split] - taken[split])]
        splits.update(zip(new, [*wanting, *["train"] * len(new)], strict=False))
    return splits


def held_out_counts(count: int, data: DataConfig) -> dict[str, int]:
    """How many of `count` subjects of a pathology are in test and val: their shares, rounded; of `FEW` and more, one
    at least where there is a share; and one always trains."""
    least = int(count >= FEW)
    val, test = (
        max(math.floor(count * share + 0.5), least if share else 0) for share in (data.val_fraction, data.test_fraction)
    )
    val = max(0, min(val, count - 1))
    return {"test": max(0, min(test, count - 1 - val)), "val": val}


def _position(subject: str) -> tuple[str, str]:
    return hashlib.sha256(f"mrigen split {subject}".encode()).hexdigest(), subject


def _file(run: Location) -> Location:
    return run / "data" / "_parts" / "splits.json"


def _shares(data: DataConfig) -> dict[str, float]:
    return {"test": data.test_fraction, "val": data.val_fraction}


def read_splits(run: Location, data: DataConfig) -> dict[str, str]:
    """What is stored in a run; nothing if that is of other shares."""
    file = _file(run)
    tree = file.read_json() if file.is_file() else {}
    return dict(tree["subjects"]) if tree.get("shares") == _shares(data) else {}


def store_splits(run: Location, scans: Iterable[Scan], data: DataConfig) -> None:
    """Store the splits of scans beside those of subjects that are gone, unless they stand already."""
    stored = read_splits(run, data)
    subjects = stored | {scan.subject: scan.split for scan in scans}
    if subjects != stored:
        _file(run).write_json({"shares": _shares(data), "subjects": dict(sorted(subjects.items()))})
