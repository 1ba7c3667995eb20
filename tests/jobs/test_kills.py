"""Each stage, SIGKILLed half-way and started again by the same command, ends with what an undisturbed run leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mrigen.labels import all_cells
from tests.command import hashes, mrigen, mrigen_killed
from tests.fake_run import SIZE, write_data

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SETTINGS = ["--preset", "tiny", "--set", f"data.image_size={SIZE}"]
LOGS = ("tensorboard", "journal.jsonl", "_SUCCESS.json")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal runs with data: one to disturb."""
    for name in ("undisturbed", "killed"):
        write_data(tmp_path / name, all_cells()[:4], {"train": 2, "val": 1}, num_files=12)
    return tmp_path / "undisturbed", tmp_path / "killed"


@pytest.mark.timeout(1200)  # nine starts of Ray's workers: five minutes of two cores that have nothing else to do
def test_training_and_encoding(ray_cluster, runs):
    undisturbed, killed = runs
    steps = {"num_steps": 60, "checkpoint_every": 5, "preview_every": 1000}
    for part in ("autoencoder", "denoiser"):
        for name, value in steps.items():
            SETTINGS.extend(["--set", f"{part}.training.{name}={value}"])
    for verb, sign in (
        ("train-vae", "vae/checkpoints/step-00000010/COMPLETE.json"),
        ("encode", "latents/part-00001.parquet"),
        ("train-ldm", "ldm/checkpoints/step-00000010/COMPLETE.json"),
    ):
        assert mrigen(verb, undisturbed, *SETTINGS) == 0
        mrigen_killed((killed / sign).exists, verb, killed, *SETTINGS)
        assert mrigen(verb, killed, *SETTINGS) == 0
        stage = {"train-vae": "vae", "encode": "latents", "train-ldm": "model"}[verb]
        assert hashes(undisturbed / stage, *LOGS) == hashes(killed / stage, *LOGS), verb


def test_generating(ray_cluster, tiny_run, tmp_path):
    command = ["--model", tiny_run / "model", "--redraws", 0, "--per-cell", 20, "--allow-untrained", "--shard-size", 8]
    assert mrigen("generate", *command, "--out", tmp_path / "undisturbed") == 0
    killed = tmp_path / "killed"
    mrigen_killed((killed / "manifest/shard-000004.parquet").exists, "generate", *command, "--out", killed)
    assert not (killed / "_SUCCESS.json").exists()
    assert mrigen("generate", *command, "--out", killed) == 0
    table = pq.read_table(killed / "manifest", columns=["id"])
    assert len(set(table["id"].to_pylist())) == table.num_rows == 400
    assert hashes(killed, "index.html") == hashes(tmp_path / "undisturbed", "index.html")


def test_evaluating(ray_cluster, tiny_run, tmp_path):
    for name in ("undisturbed", "killed"):
        shutil.copytree(tiny_run, tmp_path / name)
        command = [
            "--model",
            tiny_run / "model",
            "--redraws",
            0,
            "--per-cell",
            4,
            "--allow-untrained",
            "--shard-size",
            8,
        ]
        assert mrigen("generate", *command, "--out", tmp_path / name / "samples") == 0
    assert mrigen("evaluate", tmp_path / "undisturbed") == 0
    report = tmp_path / "killed" / "report"
    mrigen_killed(lambda: any(report.rglob("*.parquet")), "evaluate", tmp_path / "killed")
    assert mrigen("evaluate", tmp_path / "killed") == 0
    figures = [json.loads((tmp_path / name / "report/metrics.json").read_text()) for name in ("undisturbed", "killed")]
    assert figures[0] == figures[1]
    assert not list(report.glob(".parts*"))
