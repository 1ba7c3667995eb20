"""`mrigen prepare` on one local Ray, on made-up trees and on real scans."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mrigen.config import load_config
from mrigen.records import read_table, tensor_numpy
from mrigen.storage import Location
from tests.command import hashes, mrigen, mrigen_for
from tests.fake_scans import write_bids, write_scan

SMALL = ("--preset", "tiny", "--set", "data.image_size=32", "--set", "data.spacing_mm=6")
PATIENTS = {f"p{number}": told for number, told in enumerate(["HC", "MS", "GBM", "AD"] * 3)}


def rows_of(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(Location.parse(run) / "data").drop_columns("image").to_pylist()
    return rows


@pytest.mark.ray
def test_a_tree_is_prepared_once_and_grows(
    tmp_path: Path, ray_cluster: None, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, run = write_bids(tmp_path / "tree", PATIENTS), tmp_path / "run"
    bad = tree / "sub-p3/anat/sub-p3_T2w.nii.gz"
    bad.write_bytes(b"no scan")
    copy = tree / "sub-p4/anat/sub-p4_run-2_T1w.nii.gz"
    shutil.copy(tree / "sub-p4/anat/sub-p4_T1w.nii.gz", copy)

    assert mrigen("prepare", tree, run, *SMALL, "--num-workers", "2") == 0
    request.getfixturevalue("no_ray")  # the rest is made here: the same bytes
    printed = capsys.readouterr().out
    rows = rows_of(run)
    assert len({row["id"] for row in rows}) == len(rows)
    assert f"{len(rows)} images" in printed
    assert "a BIDS tree" in printed
    assert "left out: 2 files" in printed
    assert "empty cells (12)" in printed
    config = load_config("tiny", overrides=SMALL[3::2])
    assert json.loads((run / "config.json").read_text()) == config.model_dump(mode="json")
    assert {row["subject"] for row in rows} == set(PATIENTS)
    for told in ("HC", "MS", "GBM", "AD"):  # of three subjects of a pathology one is in each split
        patients = [name for name, pathology in PATIENTS.items() if pathology == told]
        assert {row["split"] for row in rows if row["subject"] in patients} == {"train", "val", "test"}
        assert len({(row["subject"], row["split"]) for row in rows if row["subject"] in patients}) == 3
    assert Counter((row["pathology"], row["modality"]) for row in rows) == {
        (pathology, modality): len(rows) // 8
        for pathology in ("Healthy", "Sclerosis", "Glioblastoma", "Dementia")
        for modality in ("T1w", "FLAIR")
    }
    images = tensor_numpy(read_table(Location.parse(run) / "data")["image"])
    assert images.shape == (len(rows), 32, 32)
    assert images.min() == -1
    assert 0.5 < images.max() <= 1
    quarantine = pq.read_table(run / "quarantine" / "quarantine.parquet").to_pylist()
    assert sorted((row["path"], row["class"]) for row in quarantine) == [(str(bad), "format"), (str(copy), "duplicate")]
    success = json.loads((run / "data" / "_SUCCESS.json").read_text())
    assert success["num_images"] == len(rows)

    first = hashes(run)
    assert mrigen("prepare", tree, run) == 0  # the run's own settings
    assert "2 of 2 parts stood already" in capsys.readouterr().out
    assert hashes(run) == first

    assert mrigen("prepare", tree, run, "--set", "data.spacing_mm=5") == 2
    assert f"{run / 'data'} was made with other settings" in capsys.readouterr().err
    assert hashes(run) == first

    (tmp_path / "other").mkdir()
    assert mrigen("prepare", tree, tmp_path / "other" / "run", *SMALL) == 0
    assert hashes(tmp_path / "other" / "run") == first

    write_bids(tree, {**PATIENTS, "q1": "CN"})
    bad.unlink()
    assert mrigen("prepare", tree, run) == 0
    before = {row["id"]: row for row in rows}
    after = {row["id"]: row for row in rows_of(run)}
    assert {key: after[key] for key in before} == before
    grown = hashes(run)
    kept = [name for name in first if name.startswith("data/part-")]
    assert {name: grown[name] for name in kept} == {name: first[name] for name in kept}
    assert {after[key]["subject"] for key in after.keys() - before.keys()} == {"q1"}
    assert len(pq.read_table(run / "quarantine" / "quarantine.parquet")) == 1


def write_mixed_heads(folder: Path) -> Path:
    """A manifest of one stripped brain, one whole head, and a file that is missing."""
    write_scan(folder / "a.nii.gz", 1)
    write_scan(folder / "b.nii.gz", 2, stripped=False)
    manifest = folder / "scans.csv"
    manifest.write_text("path,subject,pathology,modality\na.nii.gz,1,MS,T1\nb.nii.gz,2,HC,T1\nc.nii.gz,3,HC,T1\n")
    return manifest


def test_mixed_heads_are_refused_unless_allowed(
    tmp_path: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, run = write_mixed_heads(tmp_path), tmp_path / "run"
    assert mrigen("prepare", manifest, run, *SMALL) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 scans (1 Sclerosis) skull-stripped, 1 scans (1 Healthy) with whole heads" in error
    assert "--allow-mixed-heads" in error
    assert not (run / "data").exists()
    assert mrigen("prepare", manifest, run, "--allow-mixed-heads") == 0
    printed = capsys.readouterr()
    assert "warning: 1 scans (1 Sclerosis) skull-stripped" in printed.out
    assert "c.nii.gz" in printed.err
    assert len({row["subject"] for row in rows_of(run)}) == 2


def test_heads_that_mix_only_where_nobody_looked_are_refused_in_the_end(
    tmp_path: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_bids(tmp_path / "tree", {f"s{number}": "MS" for number in range(6)}, ("T1w",))
    write_scan(tree / "sub-s5/anat/sub-s5_T1w.nii.gz", 99, stripped=False)
    run = tmp_path / "run"
    assert mrigen("prepare", tree, run, *SMALL) == 2
    assert "5 scans (5 Sclerosis) skull-stripped, 1 scans (1 Sclerosis)" in capsys.readouterr().err
    assert not (run / "data" / "_SUCCESS.json").exists()
    assert mrigen("prepare", tree, run, "--allow-mixed-heads") == 0
    assert "1 of 1 parts stood already" in capsys.readouterr().out
    assert (run / "data" / "_SUCCESS.json").exists()


def test_a_run_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "tree/sub-1/anat/sub-1_T1w.nii.gz", 1)
    (tmp_path / "tree/participants.tsv").write_text("participant_id\tdiagnosis\nsub-1\tMS\n")
    (tmp_path / "file").touch()
    assert mrigen("prepare", tmp_path / "tree", tmp_path / "file" / "run") == 2
    error = capsys.readouterr().err
    assert error == f"mrigen: error: cannot write to {tmp_path / 'file' / 'run'}: Not a directory\n"


def test_strict_stops_at_the_first_bad_file(tmp_path: Path, no_ray: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("prepare", write_mixed_heads(tmp_path), tmp_path / "run", *SMALL, "--strict") == 65
    assert "c.nii.gz" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "run" / "data").exists()


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path, no_ray: None, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, run = write_mixed_heads(tmp_path), tmp_path / "run"
    assert mrigen("prepare", manifest, run, *SMALL, "--dry-run") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in (
        "2 scans (dry run",
        "empty cells (18)",
        "4 x 4 x 4 mm",
        "RAS",
        "1 stripped, 1 whole",
        "warning: 1 scans",
        "train: 2 subjects (1 Healthy, 1 Sclerosis)",
        "test: 0 subjects",
    ):
        assert words in printed
    assert mrigen("prepare", manifest, "--dry-run") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "scans.csv"]


def test_no_image_at_all_is_a_fault_of_the_data(
    tmp_path: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "scans.csv"
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    manifest.write_text("path,subject,pathology,modality\na.nii.gz,1,MS,T1\nb.nii.gz,2,MS,T1\nc.nii.gz,2,flu,T1\n")
    assert mrigen("prepare", manifest, tmp_path / "run", *SMALL) == 65
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no image came of" in error
    assert "quarantine" in error
    classes = pq.read_table(tmp_path / "run" / "quarantine" / "quarantine.parquet")["class"].to_pylist()
    assert classes == ["format", "missing", "label"]
    assert not (tmp_path / "run" / "data" / "_SUCCESS.json").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["{tmp}/empty", "run"], "unknown kind of folder"),
        (["{tmp}/bids", "run"], "participants.tsv: missing"),
        (["{tmp}/notes.txt", "run"], "path,subject,pathology,modality"),
        (["{tmp}/semicolons.csv", "run"], "save it with commas"),
        (["{tmp}/twice.csv", "run"], "two columns are named 'path'"),
        (["{tmp}/bids", "run", "--source-option", "table"], "KEY=VALUE"),
        (["{tmp}/bids", "run", "--source-option", "patology=MS"], "did you mean 'pathology'"),
    ],
)
def test_bad_input_ends_with_one_line(
    tmp_path: Path, args: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bids/sub-1/anat").mkdir(parents=True)
    (tmp_path / "bids/sub-1/anat/sub-1_T1w.nii.gz").touch()
    (tmp_path / "bids" / "dataset_description.json").write_text("{}")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "semicolons.csv").write_text("path;subject;pathology;modality\na;b;c;d\n")
    (tmp_path / "twice.csv").write_text("path,path,subject,pathology,modality\na,b,1,MS,T1\n")
    assert mrigen("prepare", *(arg.format(tmp=tmp_path) for arg in args)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path, ray_cluster: None) -> None:
    tree = write_bids(tmp_path / "tree", {f"s{number:03d}": "MS" for number in range(60)}, ("T1w", "T2w", "PDw"))
    (tree / "sub-s007/anat/sub-s007_T1w.nii.gz").write_bytes(b"no scan")
    whole = tmp_path / "whole"
    arguments = (*SMALL, "--num-workers", "1")
    assert mrigen("prepare", tree, whole, *arguments) == 0
    moments = random.Random(0)
    undisturbed = hashes(whole)
    killed, kills = tmp_path / "killed-0", 0
    while kills < 10:
        delay = moments.uniform(4.0, 16.0)
        if mrigen_for(delay, "prepare", tree, killed, *arguments):
            kills += 1
        else:  # it was faster: what it leaves must be right, and the next kill hits a new run
            assert hashes(killed) == undisturbed
            killed = tmp_path / f"killed-{kills}"
    assert mrigen("prepare", tree, killed, *arguments) == 0
    assert hashes(killed) == undisturbed


@pytest.mark.realdata
@pytest.mark.slow
def test_real_scans_of_open_ms_data(
    tmp_path: Path, real_data: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mrigen("prepare", real_data / "open_ms_data/cross_sectional/MNI", tmp_path / "run", "--preset", "tiny") == 0
    rows = rows_of(tmp_path / "run")
    scans = {(row["subject"], row["pathology"], row["modality"]) for row in rows}
    assert scans == {
        (subject, "Sclerosis", modality)
        for subject in ("patient19", "patient26")
        for modality in ("T1w", "T1ce", "T2w", "FLAIR")
    }
    heights = {
        subject: {row["slice_mm"] for row in rows if row["subject"] == subject}
        for subject in ("patient19", "patient26")
    }
    assert heights["patient19"] != heights["patient26"]
    assert len(rows) == 4 * sum(map(len, heights.values()))
    images = tensor_numpy(read_table(Location.parse(tmp_path / "run") / "data")["image"])
    by_scan = {
        (row["subject"], row["modality"], row["slice_mm"]): image for row, image in zip(rows, images, strict=True)
    }
    for (subject, modality, height), image in by_scan.items():
        brain = by_scan[subject, "T1w", height] > -0.9
        assert 0.1 < brain.mean() < 0.6
        assert abs(np.argwhere(brain).mean(0) - 31.5).max() < 5
        # Left and right halves of a brain resemble each other; front and back do not as much.
        mirrored = np.corrcoef(image.ravel(), image[::-1].ravel())[0, 1]
        assert mirrored > np.corrcoef(image.ravel(), image[:, ::-1].ravel())[0, 1]
        if modality == "T2w":  # fluid is dark in T1w and bright in T2w
            assert np.corrcoef(image[brain], by_scan[subject, "T1w", height][brain])[0, 1] < 0
    assert "empty cells (16)" in capsys.readouterr().out
