"""`mrigen quickstart`: every verb, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import mrigen

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_whole_chain_ends_with_an_evaluated_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    command = ["quickstart", "--out", run, "--subjects", 8, "--per-cell", 1, "--preset", "tiny", "--set", "seed=3"]
    assert mrigen(*command) == 0
    told = [line.partition("] mrigen ")[2] for line in capsys.readouterr().out.splitlines() if "] mrigen " in line]
    assert told == ["phantom", "prepare", "train-vae", "encode", "train-ldm", "generate", "evaluate"]
    assert json.loads((run / "config.json").read_text())["seed"] == 3
    assert json.loads((run / "samples" / "_SUCCESS.json").read_text())["num_samples"] == 20
    assert (run / "report" / "index.html").is_file()
