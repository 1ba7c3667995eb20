"""The last step of preparing a run: the parts' reports become the quarantine, a summary and `_SUCCESS.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mrigen.errors import InputError
from mrigen.labels import Cell, Pathology, all_cells
from mrigen.records import SPLITS, write_table
from mrigen.sources.scans import Rejected
from mrigen.storage import Location

QUARANTINE_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("class", pa.string())])
LATER_STAGES = ("vae", "latents", "ldm", "model")


@dataclass(frozen=True)
class Preparation:
    """What a run's `data/` holds."""

    cells: dict[Cell, int]
    # images of each of the 20 cells
    splits: dict[str, int]
    # images of each split
    subjects: dict[str, int]
    # subjects of each split
    rejected: tuple[Rejected, ...]
    num_stripped: dict[Pathology, int]
    num_whole: dict[Pathology, int]
    # scans of each pathology without and with their skull
    parts: dict[str, str]
    # files and their SHA-256
    num_parts: int
    num_kept: int
    # parts in all, and those that stood already

    @property
    def num_images(self) -> int:
        """Images in all."""
        return sum(self.cells.values())

    def warnings(self) -> list[str]:
        """What a user should know before training on this, a line each."""
        lines = [
            f"no subject fell into the {split} split: add subjects, or raise data.{split}_fraction"
            if split != "train"
            else "no subject fell into the train split: add subjects"
            for split, count in self.subjects.items()
            if not count
        ]
        stripped, whole = sum(self.num_stripped.values()), sum(self.num_whole.values())
        if stripped and whole:
            lines.append(
                f"{_by_pathology(self.num_stripped)} skull-stripped, {_by_pathology(self.num_whole)} with whole heads: "
                "a model would learn which pathology has no skull; bring all scans into one state"
            )
        return lines


def _by_pathology(counts: dict[Pathology, int]) -> str:
    told = ", ".join(f"{count} {pathology}" for pathology, count in counts.items() if count)
    return f"{sum(counts.values())} scans ({told})"


def begin_preparation(run: Location, keys: Iterable[str]) -> None:
    """Take `_SUCCESS.json` away if it stands for other parts than those to be made.

    Raises:
        InputError: if later stages have used the parts it stands for.
    """
    success = run / "data" / "_SUCCESS.json"
    if not success.is_file() or success.read_json().get("keys") == sorted(keys):
        return
    for stage in LATER_STAGES:
        if (run / stage).is_folder():
            raise InputError(
                f"{run / stage} was made from other scans than are there now: use another run folder, "
                f"or delete {', '.join(LATER_STAGES)} in this one"
            )
    success.delete()


def finish_preparation(
    run: Location, reports: Sequence[dict[str, Any]], rejected: Sequence[Rejected], digest: str
) -> Preparation:
    """Drop parts of earlier inputs, write the quarantine, and `_SUCCESS.json` last if there is any image.

    `digest` is that of the stage's settings (`training.stage.stage_digest`), which the mark carries.
    """
    preparation = _sum_up(reports, rejected)
    keys = sorted(report["key"] for report in reports)
    folder = run / "data"
    wanted = {*preparation.parts, *(f"parts/{key}.json" for key in keys), "_SUCCESS.json"}
    for file in folder.files():
        name = file.path[len(folder.path) + 1 :]
        if name not in wanted and name.startswith(("part-", "parts/")):
            file.delete()
    rows = [{"path": item.path, "reason": item.reason, "class": item.fault} for item in preparation.rejected]
    table = pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
    write_table(table, run / "quarantine" / "quarantine.parquet")
    if preparation.num_images:
        (folder / "_SUCCESS.json").write_json(
            {
                "stage": "data",
                "digest": digest,
                "num_images": preparation.num_images,
                "cells": {str(cell): count for cell, count in preparation.cells.items()},
                "images": preparation.splits,
                "subjects": preparation.subjects,
                "num_quarantined": len(preparation.rejected),
                "keys": keys,
                "parts": preparation.parts,
            }
        )
    return preparation


def _sum_up(reports: Sequence[dict[str, Any]], rejected: Sequence[Rejected]) -> Preparation:
    cells: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    heads: Counter[str] = Counter()
    subjects: dict[str, str] = {}
    for report in reports:
        cells.update(report["cells"])
        splits.update(report["splits"])
        heads.update(report["heads"])
        subjects.update(report["subjects"])
    faulty = [*rejected, *(Rejected(**item) for report in reports for item in report["rejected"])]
    per_split = Counter(subjects.values())
    return Preparation(
        cells={cell: cells[str(cell)] for cell in all_cells()},
        splits={split: splits[split] for split in SPLITS},
        subjects={split: per_split[split] for split in SPLITS},
        rejected=tuple(sorted(faulty, key=lambda item: (item.path, item.reason))),
        num_stripped={pathology: heads[f"{pathology}:stripped"] for pathology in Pathology},
        num_whole={pathology: heads[f"{pathology}:whole"] for pathology in Pathology},
        parts=dict(sorted((report["file"], report["sha256"]) for report in reports if report["file"])),
        num_parts=len(reports),
        num_kept=sum(not report["made"] for report in reports),
    )
