"""The end of a preparation: sums, warnings, the quarantine, and what is cleared away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.sources.preparation import Preparation, begin_preparation, finish_preparation
from mrigen.sources.scans import Rejected
from mrigen.storage import Location

BAD = {"path": "/b.nii", "reason": "/b.nii: broken", "fault": "format"}


def report(key: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": key,
        "file": f"part-{key}.parquet",
        "sha256": key * 4,
        "cells": {"Healthy:T1w": 3, "Sclerosis:PD": 1},
        "splits": {"train": 3, "test": 1},
        "subjects": {f"{key}1": "train", f"{key}2": "test"},
        "heads": {"Healthy:stripped": 2},
        "rejected": [],
        "made": True,
        **changes,
    }


def publish(run: Location, *names: str) -> None:
    for name in names:
        (run / "data" / name).write_bytes(b"x")


def finish(run: Location, reports: list[dict[str, Any]], rejected: tuple[Rejected, ...] = ()) -> Preparation:
    return finish_preparation(run, reports, rejected, "digest")


def test_reports_are_summed_and_the_success_comes_last(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    publish(run, "part-a.parquet", "part-b.parquet", "parts/a.json", "parts/b.json")
    early = Rejected("/a.nii", "/a.nii: no such file", "missing")
    done = finish(run, [report("b", rejected=[BAD], made=False), report("a")], (early,))
    assert done.num_images == 8
    assert done.cells[Cell.parse("Healthy:T1w")] == 6
    assert len(done.cells) == 20
    assert sum(count == 0 for count in done.cells.values()) == 18
    assert done.splits == {"train": 6, "val": 0, "test": 2}
    assert done.subjects == {"train": 2, "val": 0, "test": 2}
    assert (done.num_parts, done.num_kept) == (2, 1)
    rows = pq.read_table(tmp_path / "quarantine" / "quarantine.parquet").to_pylist()
    assert rows == [
        {"path": "/a.nii", "reason": "/a.nii: no such file", "class": "missing"},
        {"path": "/b.nii", "reason": "/b.nii: broken", "class": "format"},
    ]
    success = (run / "data" / "_SUCCESS.json").read_json()
    assert success["parts"] == {"part-a.parquet": "aaaa", "part-b.parquet": "bbbb"}
    assert (success["num_images"], success["num_quarantined"], success["digest"]) == (8, 2, "digest")
    assert sum(success["cells"].values()) == sum(success["images"].values()) == 8


def test_parts_of_earlier_scans_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    publish(run, "part-a.parquet", "part-old.parquet", "parts/a.json", "parts/old.json", "notes.txt")
    finish(run, [report("a")])
    names = sorted(Path(file.path).relative_to(tmp_path / "data").as_posix() for file in (run / "data").files())
    assert names == ["_SUCCESS.json", "notes.txt", "part-a.parquet", "parts/a.json"]


def test_no_image_is_no_success(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    nothing = report("a", file=None, sha256=None, cells={}, splits={}, subjects={}, heads={}, rejected=[BAD])
    done = finish(run, [nothing])
    assert done.num_images == 0
    assert not (run / "data" / "_SUCCESS.json").is_file()
    assert pq.read_table(tmp_path / "quarantine" / "quarantine.parquet").num_rows == 1


def test_a_success_for_other_parts_is_taken_back(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    success = run / "data" / "_SUCCESS.json"
    begin_preparation(run, ["a"])
    finish(run, [report("a")])
    begin_preparation(run, ["a"])
    assert success.is_file()
    begin_preparation(run, ["a", "b"])
    assert not success.is_file()


def test_scans_under_a_trained_model_are_not_exchanged(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    finish(run, [report("a")])
    (run / "vae" / "x").write_bytes(b"")
    begin_preparation(run, ["a"])
    with pytest.raises(InputError, match="another run folder"):
        begin_preparation(run, ["b"])
    assert (run / "data" / "_SUCCESS.json").is_file()


def test_empty_splits_and_mixed_heads_are_warned_of(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    assert finish(run, [report("a", subjects={"1": "train", "2": "val", "3": "test"})]).warnings() == []
    (line,) = finish(run, [report("a")]).warnings()
    assert "val split" in line
    assert "data.val_fraction" in line
    mixed = report("a", subjects={"1": "val", "2": "test"}, heads={"Healthy:whole": 3, "Sclerosis:stripped": 1})
    train, heads = finish(run, [mixed]).warnings()
    assert "train split" in train
    assert "1 scans (1 Sclerosis) skull-stripped, 3 scans (3 Healthy) with whole heads" in heads


def test_every_cell_has_its_count(tmp_path: Path) -> None:
    cells = {str(cell): number for number, cell in enumerate(all_cells())}
    done = finish(Location.parse(tmp_path), [report("a", cells=cells)])
    assert list(done.cells.values()) == list(range(20))
