"""The beginning and the end of a preparation: the plan, sums, the quarantine, and what is cleared away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.prepare.prepared_data import (
    LATER_STAGES,
    PreparedData,
    close_data,
    open_data,
    sum_reports,
    write_quarantine,
)
from mrigen.prepare.scan_groups import group_key, read_groups
from mrigen.prepare.survey import ScanFacts
from mrigen.sources.scans import Rejected, Scan
from mrigen.storage import Location

DATA = DataConfig()
BAD = {"path": "/b.nii", "reason": "/b.nii: broken", "fault": "format"}
CELL = Cell(Pathology.HEALTHY, Modality.T1W)
EARLY = Rejected("/a.nii", "/a.nii: no such file", "missing")


def scan(name: str) -> Scan:
    return Scan(f"/{name}.nii", name, "", "set", CELL.pathology, CELL.modality, "CC0")


PARTS: list[dict[Scan, str]] = [{scan("a"): "1", scan("b"): "2"}, {scan("c"): "3"}]
FACTS = {
    one: ScanFacts(one, content, content, (1.0, 1.0, 3.0), "LPS", None)
    for part in PARTS
    for one, content in part.items()
}


def report(number: int, **changes: Any) -> dict[str, Any]:
    key = group_key(PARTS[number], DATA)
    counts = {str(CELL): {name: [1] + [0] * (size - 1) for name, size in (("before", 80), ("after", 64))}}
    return {
        "key": key,
        "file": f"part-{key}.parquet",
        "sha256": f"{number}" * 4,
        "cells": {"Healthy:T1w": 3, "Sclerosis:PD": 1},
        "splits": {"train": 3, "test": 1},
        "num_marked": 2,
        "subjects": {f"set/{number}": "train", f"other/{number}": "test"},
        "states": ["stripped", "whole"][: len(PARTS[number])],
        "histograms": counts,
        "rejected": [],
        "made": True,
        **changes,
    }


def finish(run: Location, *reports: dict[str, Any], rejected: tuple[Rejected, ...] = ()) -> PreparedData:
    parts = PARTS[: len(reports)]
    preparation = sum_reports(FACTS, parts, reports, rejected)
    close_data(run, preparation, [group_key(part, DATA) for part in parts], "digest")
    return preparation


def publish(run: Location, *names: str) -> None:
    for name in names:
        (run / "data" / name).write_bytes(b"x")


def test_reports_are_summed() -> None:
    done = sum_reports(FACTS, PARTS, [report(0, rejected=[BAD], made=False), report(1)], [EARLY])
    assert done.num_images == 8
    assert done.cells[CELL] == 6
    assert len(done.cells) == 20
    assert done.splits == {"train": 6, "val": 0, "test": 2}
    assert done.num_marked == 4
    assert done.subjects == {"train": 2, "val": 0, "test": 2}
    assert (done.num_parts, done.num_kept) == (2, 1)
    assert done.rejected == (EARLY, Rejected(**BAD))
    assert done.geometry == {(CELL, "1 x 1 x 3 mm", "LPS"): 3}
    states = {(traits.thickness_mm, traits.stripped): count for traits, count in done.traits.items()}
    assert states == {(3.0, True): 2, (3.0, False): 1}
    assert done.histograms.counts[CELL]["after"][0] == 2


def test_a_scan_without_images_does_not_count_in_the_tables() -> None:
    done = sum_reports(FACTS, PARTS[:1], [report(0, states=[None, "whole"])], [])
    assert sum(done.geometry.values()) == sum(done.traits.values()) == 1


def test_the_quarantine_tells_path_reason_and_class(tmp_path: Path) -> None:
    file = write_quarantine(Location.parse(tmp_path), [EARLY, Rejected(**BAD)])
    assert pq.read_table(file.path).to_pylist() == [
        {"path": "/a.nii", "reason": "/a.nii: no such file", "class": "missing"},
        {"path": "/b.nii", "reason": "/b.nii: broken", "class": "format"},
    ]


def test_the_success_tells_what_there_is(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    finish(run, report(0), report(1), rejected=(EARLY,))
    success = (run / "data" / "_SUCCESS.json").read_json()
    assert success["parts"] == {report(0)["file"]: "0000", report(1)["file"]: "1111"}
    assert (success["num_images"], success["num_quarantined"], success["digest"]) == (8, 1, "digest")
    assert sum(success["cells"].values()) == sum(success["images"].values()) == 8


def test_parts_of_earlier_scans_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    key, file = report(0)["key"], report(0)["file"]
    publish(run, file, "part-old.parquet", f"_parts/{key}.json", "_parts/old.json", "notes.txt")
    open_data(run, PARTS[:1], DATA)
    finish(run, report(0))
    names = sorted(Path(found.path).relative_to(tmp_path / "data").as_posix() for found in (run / "data").files())
    assert names == sorted(["_SUCCESS.json", "notes.txt", file, f"_parts/{key}.json", "_parts/plan.json"])


def test_no_image_is_no_success(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    nothing = {
        "file": None,
        "sha256": None,
        "cells": {},
        "splits": {},
        "num_marked": 0,
        "subjects": {},
        "states": [None, None],
    }
    done = finish(run, report(0, **nothing, histograms={}, rejected=[BAD]))
    assert done.num_images == 0
    assert not (run / "data" / "_SUCCESS.json").is_file()


def test_a_success_for_other_parts_is_taken_back_and_the_plan_is_stored(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    success = run / "data" / "_SUCCESS.json"
    open_data(run, PARTS[:1], DATA)
    finish(run, report(0))
    open_data(run, PARTS[:1], DATA)
    assert success.is_file()
    open_data(run, PARTS, DATA)
    assert not success.is_file()
    assert [len(keys) for keys in read_groups(run)] == [2, 1]


@pytest.mark.parametrize("stage", LATER_STAGES)
def test_scans_under_a_trained_model_are_not_exchanged(tmp_path: Path, stage: str) -> None:
    run = Location.parse(tmp_path)
    open_data(run, PARTS[:1], DATA)
    finish(run, report(0))
    (run / stage / "x").write_bytes(b"")
    open_data(run, PARTS[:1], DATA)
    with pytest.raises(InputError, match="another run folder"):
        open_data(run, PARTS, DATA)
    assert (run / "data" / "_SUCCESS.json").is_file()
    assert len(read_groups(run)) == 1


def test_few_held_out_subjects_are_told_by_pathology() -> None:
    of_one = {"set/a": "test", "set/b": "train"}
    [line] = sum_reports(FACTS, PARTS[:1], [report(0, subjects=of_one)], []).few_held_out()
    assert line.startswith("few subjects in the test split (Healthy 1): ")
    assert "data.test_fraction" in line
    names = "abcdef"
    part = {scan(name): name for name in names}
    facts = {one: ScanFacts(one, name, name, (1.0, 1.0, 3.0), "LPS", None) for one, name in part.items()}

    def told(num_held_out: int) -> list[str]:
        subjects = {f"set/{name}": "test" if k < num_held_out else "train" for k, name in enumerate(names)}
        return sum_reports(facts, [part], [report(0, subjects=subjects, states=["whole"] * 6)], []).few_held_out()

    assert told(5) == []
    assert "(Healthy 4)" in told(4)[0]
    assert told(0) == []  # the split is empty: told by itself


def test_empty_splits_are_told_with_the_remedy() -> None:
    full = {"1": "train", "2": "val", "3": "test"}
    assert sum_reports(FACTS, PARTS[:1], [report(0, subjects=full)], []).empty_splits() == []
    [line] = sum_reports(FACTS, PARTS[:1], [report(0)], []).empty_splits()
    assert "val split" in line
    assert "data.val_fraction" in line
