"""Preparing a run from Python, without Ray: what it leaves, and what it refuses to change."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mrigen.config import load_config
from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.prepare.prepared_data import LATER_STAGES, PreparedData, sum_reports
from mrigen.prepare.survey import ScanFacts
from mrigen.report.data.words import warnings_of
from mrigen.run import is_finished, store_config
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from tests.fake_scans import found, scan_at, touch, write_bids

CONFIG = load_config("tiny", overrides=["data.image_size=32", "data.spacing_mm=6"])


def prepare(folder: Path) -> PreparedData:
    return prepare_run(Location.parse(folder / "run"), CONFIG, found(folder / "tree"), one_by_one)


def test_the_success_and_the_sums_tell_what_there_is(tmp_path: Path) -> None:
    tree, run = write_bids(tmp_path / "tree", {"a": "MS", "b": "control"}), tmp_path / "run"
    (tree / "sub-a/anat/sub-a_T2w.nii.gz").write_bytes(b"no scan")
    done = prepare(tmp_path)
    rows = pq.read_table(run / "data", columns=["pathology", "modality", "split"]).to_pylist()
    success = json.loads((run / "data/_SUCCESS.json").read_text())
    assert success["num_images"] == done.num_images == len(rows)
    assert success["num_quarantined"] == len(done.rejected) == 1
    assert success["images"] == done.splits == {"train": 0, "val": 0, "test": 0} | Counter(row["split"] for row in rows)
    counts = {str(cell): count for cell, count in done.cells.items()}
    assert success["cells"] == counts
    assert {cell: count for cell, count in counts.items() if count} == Counter(
        f"{row['pathology']}:{row['modality']}" for row in rows
    )
    assert list(success["parts"]) == sorted(file.name for file in (run / "data").glob("*.parquet"))
    assert {shown[1:] for shown in done.geometry} == {("4 x 4 x 4 mm", "RAS")}
    assert sum(done.geometry.values()) == sum(done.traits.values()) == 4
    assert all(np.sum(counts["after"]) > 1000 for counts in done.histograms.counts.values())
    assert is_finished(Location.parse(run), CONFIG, "data")
    assert {"config.json", "data.html"} <= {path.name for path in run.iterdir()}


def test_files_of_earlier_scans_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",))
    data = tmp_path / "run/data"
    (data / "_parts").mkdir(parents=True)
    store_config(Location.parse(tmp_path / "run"), CONFIG)
    for name in ("part-old.parquet", "_parts/old.json", "notes.txt"):
        (data / name).touch()
    (file,) = prepare(tmp_path).files
    names = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    key = file.removeprefix("part-").removesuffix(".parquet")
    assert names == {"_SUCCESS.json", "notes.txt", file, f"_parts/{key}.json", "_parts/plan.json", "_parts/splits.json"}


def test_where_no_scan_can_be_used_there_is_no_success(tmp_path: Path) -> None:
    tree = write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",))
    (tree / "sub-a/anat/sub-a_T1w.nii.gz").write_bytes(b"no scan")
    assert prepare(tmp_path).num_images == 0
    assert not (tmp_path / "run/data/_SUCCESS.json").exists()


def test_scans_under_a_trained_model_are_not_exchanged(tmp_path: Path) -> None:
    write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",))
    prepare(tmp_path)
    before = (tmp_path / "run/data/_SUCCESS.json").read_bytes()
    touch(tmp_path / "run", *(f"{stage}/x" for stage in LATER_STAGES))
    prepare(tmp_path)
    write_bids(tmp_path / "tree", {"a": "MS", "b": "MS"}, ("T1w",))
    for stage in LATER_STAGES:
        with pytest.raises(InputError, match=f"{stage} was made from other scans than .*another run folder"):
            prepare(tmp_path)
        (tmp_path / "run" / stage / "x").unlink()
        (tmp_path / "run" / stage).rmdir()
    assert (tmp_path / "run/data/_SUCCESS.json").read_bytes() == before


def test_a_folder_of_other_files_is_no_run(tmp_path: Path) -> None:
    write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",))
    touch(tmp_path / "run", "thesis/draft.tex", ".DS_Store")
    with pytest.raises(InputError, match="run holds thesis and is no run: name a folder that is new or empty"):
        prepare(tmp_path)
    assert not (tmp_path / "run/data").exists()
    (tmp_path / "run/thesis/draft.tex").unlink()
    assert prepare(tmp_path).num_images
    touch(tmp_path / "run", "notes.txt")
    tree = write_bids(tmp_path / "other/tree", {"a": "MS"}, ("T1w",))
    assert prepare_run(Location.parse(tree.parent), CONFIG, found(tree), one_by_one).num_images


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data/part-0.parquet", "run holds data and is no run: name a folder that is new or empty"),
        ("config.json", "run/config.json is not that of a run: name a folder that is new or empty"),
    ],
)
def test_files_of_something_else_that_are_named_as_a_runs_are_left_alone(tmp_path: Path, name: str, words: str) -> None:
    write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",))
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"data": "mine"}')
    with pytest.raises(InputError, match=words):
        prepare(tmp_path)
    assert file.read_text() == '{"data": "mine"}'


def test_a_run_lies_in_no_source(tmp_path: Path) -> None:
    tree = Location.parse(write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",)))
    with pytest.raises(InputError, match="lies in the source"):
        prepare_run(tree / "run", CONFIG, found(tree), one_by_one)
    assert not (tree / "run").is_folder()


@pytest.mark.parametrize(
    ("held_out", "words"),
    [(0, ["no subject fell into the test split"]), (4, ["few subjects in the test split (Healthy 4)"]), (5, [])],
)
def test_empty_splits_and_few_held_out_subjects_are_told(held_out: int, words: list[str]) -> None:
    group = {scan_at(name, name, pathology=Pathology.HEALTHY): name for name in "abcdefg"}
    splits = ["test"] * held_out + ["train"] * (6 - held_out) + ["val"]
    report = {
        "file": "part-0.parquet", "sha256": "0", "made": True, "num_marked": 0, "rejected": [], "registered": [],
        "histograms": {}, "cells": {}, "splits": {}, "states": ["stripped"] * 7,
        "subjects": {f"set/{name}": split for name, split in zip("abcdefg", splits, strict=True)},
    }  # fmt: skip
    facts = {scan: ScanFacts(scan, name, name, (1.0, 1.0, 1.0), "LPS", None) for scan, name in group.items()}
    told = warnings_of(sum_reports(facts, [group], [report], []))
    assert len(told) == len(words)
    assert all(line.startswith(start) and "data.test_fraction" in line for line, start in zip(told, words, strict=True))


def test_assumed_axes_are_told_once_with_the_remedy(tmp_path: Path) -> None:
    write_bids(tmp_path / "tree", dict.fromkeys("abc", "MS"), ("T1w",))
    done = prepare(tmp_path)
    cell = Cell(Pathology.SCLEROSIS, Modality.T1W)
    geometry = {(cell, "1 x 1 x 1 mm", "LAS, assumed"): 3, (cell, "2 x 2 x 2 mm", "LAS, assumed"): 1}
    [told] = [line for line in warnings_of(replace(done, geometry=geometry)) if "axes" in line]
    assert told.startswith("Analyze files do not tell where their axes point: LAS was taken for 4 of them; ")
    assert told.endswith("say otherwise by --source-option orientation=")
    assert not any("axes" in line for line in warnings_of(done))
