"""`mrigen generate` on Ray: the same bytes whatever the workers and shards; bad input is told in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.command import hashes, mrigen

pytestmark = pytest.mark.ray


def test_workers_and_a_second_call_change_no_byte(ray_cluster, tiny_run, tmp_path, capsys):
    command = ["--model", tiny_run / "model", "--per-cell", 2, "--seed", 3, "--allow-untrained", "--shard-size", 9]
    assert mrigen("generate", *command, "--out", tmp_path / "one", "--num-workers", 1) == 0
    assert mrigen("generate", *command, "--out", tmp_path / "two", "--num-workers", 2) == 0
    out = capsys.readouterr().out
    assert "2 *" in out
    assert f"page:     {tmp_path / 'two' / 'index.html'}" in out
    written = hashes(tmp_path / "one", "index.html")
    assert written == hashes(tmp_path / "two", "index.html")
    (tmp_path / "two" / "_SUCCESS.json").unlink()
    shutil.rmtree(tmp_path / "two" / "sub-DementiaPD0000001")
    assert mrigen("generate", *command, "--out", tmp_path / "two") == 0
    assert written == hashes(tmp_path / "two", "index.html")
    assert json.loads((tmp_path / "two" / "_SUCCESS.json").read_text())["num_samples"] == 40
    assert pq.read_table(tmp_path / "two" / "manifest").num_rows == 40


def test_the_data_set_is_valid_bids(ray_cluster, tiny_run, tmp_path):
    assert (
        mrigen("generate", "--model", tiny_run / "model", "--per-cell", 1, "--allow-untrained", "--out", tmp_path / "o")
        == 0
    )
    validator = Path(sys.executable).with_name("bids-validator-deno")
    result = subprocess.run([validator, "--format", "json", tmp_path / "o"], capture_output=True, text=True)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--cells", "GBM:FLARE"],
            "unknown modality 'FLARE': known are T1w, T1ce, T2w, FLAIR, PD; did you mean FLAIR?",
        ),
        (["--cells", ""], "cell '' is not of the form PATHOLOGY:MODALITY"),
        (["--cells", "GBM"], "cell 'GBM' is not of the form PATHOLOGY:MODALITY"),
        ([], "never seen in training: Sclerosis:PD; add --allow-untrained to generate them"),
        (["--cells", "HC:T1", "--num-steps", "0"], "num_steps: Input should be greater than or equal to 1, got '0'"),
        (
            ["--cells", "HC:T1", "--solver", "euler"],
            "solver: Input should be 'ddim', 'dpmpp-2m' or 'ddpm', got 'euler'",
        ),
        (["--cells", "HC:T1", "--guidance-scale", "nan"], "guidance_scale: "),
        (["--cells", "HC:T1", "--slice-mm", "400"], "--slice-mm 400 lies outside what the model was trained on"),
        (["--cells", "HC:T1", "--per-cell", "0"], "Invalid value for '--per-cell'"),
    ],
)
def test_bad_input_is_one_line(tiny_run, tmp_path, capsys, options, message):
    assert mrigen("generate", "--model", tiny_run / "model", "--out", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(tiny_run, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert mrigen("generate", "--model", tiny_run / "model", "--out", tmp_path / "file") == 2
    assert f"{tmp_path / 'file'} is a file: name a folder to write to" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_that_is_not_there_is_named(tmp_path, capsys):
    assert mrigen("generate", "--model", tmp_path / "none", "--out", tmp_path / "out") == 2
    assert f"--model: no folder {tmp_path / 'none'}" in capsys.readouterr().err


def test_under_a_ray_job_a_relative_path_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert mrigen("generate", "--out", "samples") == 2
    assert "output path 'samples' is relative: under a Ray job it would land in" in capsys.readouterr().err
