"""`mrigen generate` on Ray: the same bytes whatever the workers and shards; bad input is told in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mrigen.each import one_by_one
from mrigen.stages.generate import generate_run
from mrigen.storage import Location
from tests.command import hashes, mrigen


@pytest.mark.ray
def test_workers_and_a_second_call_change_no_byte(ray_cluster, tiny_run, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    command = ["--model", tiny_run / "model", "--per-cell", 2, "--seed", 3, "--allow-untrained", "--shard-size", 9]
    assert mrigen("generate", *command, "--out", two, "--num-workers", 2) == 0
    out = capsys.readouterr().out
    assert "2 *" in out
    assert f"page:     {two / 'index.html'}" in out
    asked = {"per_cell": 2, "seed": 3, "allow_untrained": True, "shard_size": 9}
    generate_run(Location.parse(one), Location.parse(tiny_run / "model"), one_by_one, **asked)
    written = hashes(one, "index.html")
    assert written == hashes(two, "index.html")
    (two / "_SUCCESS.json").unlink()
    shutil.rmtree(two / "sub-DementiaPD0000001")
    assert mrigen("generate", *command, "--out", two) == 0
    assert written == hashes(two, "index.html")
    assert json.loads((two / "_SUCCESS.json").read_text())["num_samples"] == 40
    assert pq.read_table(two / "manifest").num_rows == 40


def test_the_data_set_is_valid_bids(no_ray, tiny_run, tmp_path):
    command = ["--model", tiny_run / "model", "--per-cell", 1, "--allow-untrained"]
    assert mrigen("generate", *command, "--out", tmp_path / "o") == 0
    validator = Path(sys.executable).with_name("bids-validator-deno")
    result = subprocess.run([validator, "--format", "json", tmp_path / "o"], capture_output=True, text=True)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0
