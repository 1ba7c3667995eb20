"""What a run's `data/` holds: opened with groups of scans, summed from their reports, closed by `_SUCCESS.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mrigen.config import Config, DataConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Pathology, all_cells
from mrigen.prepare.confounds import Traits
from mrigen.prepare.histograms import Histograms
from mrigen.prepare.scan_groups import ScanGroup, group_key, store_groups
from mrigen.prepare.splits import store_splits
from mrigen.prepare.survey import ScanFacts
from mrigen.records import SPLITS, write_table
from mrigen.run import SUCCESS, deciding_settings
from mrigen.sources.scans import Rejected
from mrigen.storage import Location

QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("class", pa.string())])
LATER_STAGES = ("vae", "latents", "ldm", "model")


@dataclass(frozen=True)
class PreparedData:
    """What a run's `data/` holds."""

    cells: dict[Cell, int]
    """Images of each of the 20 cells."""
    splits: dict[str, int]
    """Images of each split."""
    num_marked: int
    """Images with a lesion mask, be it empty."""
    subjects: dict[str, int]
    """Subjects of each split."""
    by_pathology: dict[str, dict[Pathology, int]]
    """Likewise, of each of the pathologies that there are."""
    rejected: tuple[Rejected, ...]
    registered: tuple[dict[str, Any], ...]
    """Scans that were registered: `path`, `overlap` with the template's brain, and `picture`, a PNG in base64; the
    least overlap first."""
    traits: dict[Traits, int]
    """Scans by what they show beside their pathology, once prepared."""
    geometry: dict[tuple[Cell, str, str], int]
    """Scans by cell, spacing and orientation, as they are in the files."""
    histograms: Histograms
    files: dict[str, str]
    """Parquet files and their SHA-256."""
    num_groups: int
    """Groups of scans: as many as files, and those of which no scan could be used."""
    num_kept: int
    """Groups whose file stood already."""

    @property
    def num_images(self) -> int:
        """Images in all."""
        return sum(self.cells.values())


def open_data(run: Location, groups: Sequence[ScanGroup], data: DataConfig) -> None:
    """Store the groups of scans and their splits; take `_SUCCESS.json` away if it stands for others.

    Raises InputError if later stages have used those.
    """
    success = run / "data" / SUCCESS
    keys = sorted(group_key(group, data) for group in groups)
    if success.is_file() and success.read_json().get("keys") != keys:
        for stage in LATER_STAGES:
            if (run / stage).is_folder():
                raise InputError(
                    f"{run / stage} was made from other scans than are there now: use another run folder, "
                    f"or delete {', '.join(LATER_STAGES)} in this one"
                )
        success.delete()
    store_groups(run, groups)
    store_splits(run, (scan for group in groups for scan in group), data)


def sum_reports(
    facts: Mapping[Any, ScanFacts],
    groups: Sequence[ScanGroup],
    reports: Sequence[dict[str, Any]],
    rejected: Iterable[Rejected],
) -> PreparedData:
    """Gather the reports of all `groups`, in their order; `facts` are those of every scan in them."""
    cells: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    subjects: dict[str, str] = {}
    of_pathology: dict[Pathology, set[str]] = defaultdict(set)
    traits: Counter[Traits] = Counter()
    geometry: Counter[tuple[Cell, str, str]] = Counter()
    histograms = Histograms()
    for group, report in zip(groups, reports, strict=True):
        cells.update(report["cells"])
        splits.update(report["splits"])
        subjects.update(report["subjects"])
        histograms.add_json(report["histograms"])
        for scan, state in zip(group, report["states"], strict=True):
            subject = f"{scan.source}/{scan.subject}"
            if subject in report["subjects"]:
                of_pathology[scan.pathology].add(subject)
            if state is not None:
                fact = facts[scan]
                traits[fact.traits(stripped=state == "stripped")] += 1
                geometry[Cell(scan.pathology, scan.modality), fact.spacing_text, fact.orientation] += 1
    faulty = [*rejected, *(Rejected(**item) for report in reports for item in report["rejected"])]
    per_split = Counter(subjects.values())
    return PreparedData(
        cells={cell: cells[str(cell)] for cell in all_cells()},
        splits={split: splits[split] for split in SPLITS},
        num_marked=sum(report["num_marked"] for report in reports),
        subjects={split: per_split[split] for split in SPLITS},
        by_pathology={
            split: {
                pathology: sum(subjects[name] == split for name in of_pathology[pathology])
                for pathology in Pathology
                if pathology in of_pathology
            }
            for split in SPLITS
        },
        rejected=tuple(sorted(faulty, key=lambda item: (item.path, item.reason))),
        registered=tuple(
            sorted((item for report in reports for item in report["registered"]), key=lambda item: item["overlap"])
        ),
        traits=dict(traits),
        geometry=dict(sorted(geometry.items())),
        histograms=histograms,
        files=dict(sorted((report["file"], report["sha256"]) for report in reports if report["file"])),
        num_groups=len(reports),
        num_kept=sum(not report["made"] for report in reports),
    )


def write_quarantine(run: Location, rejected: Iterable[Rejected]) -> Location:
    """Write the table of files left out; gives its place."""
    rows = [{"path": item.path, "reason": item.reason, "class": item.fault} for item in rejected]
    file = run / "quarantine" / "quarantine.parquet"
    write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), file)
    return file


def close_data(run: Location, config: Config, prepared: PreparedData, groups: Sequence[ScanGroup]) -> None:
    """Drop image files of other groups, and write `_SUCCESS.json` last if there is any image."""
    keys, folder = sorted(group_key(group, config.data) for group in groups), run / "data"
    wanted = {*prepared.files, *(f"_parts/{key}.json" for key in keys), "_parts/plan.json", "_parts/splits.json"}
    for file in folder.files():
        name = file.path[len(folder.path) + 1 :]
        if name not in wanted and name.startswith(("part-", "_parts/")):
            file.delete()
    if prepared.num_images:
        (folder / SUCCESS).write_json(
            {
                "stage": "data",
                "settings": deciding_settings(config, "data"),
                "num_images": prepared.num_images,
                "cells": {str(cell): count for cell, count in prepared.cells.items()},
                "images": prepared.splits,
                "subjects": prepared.subjects,
                "num_quarantined": len(prepared.rejected),
                "keys": keys,
                "parts": prepared.files,
            }
        )
