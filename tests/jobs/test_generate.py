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


def test_the_data_set_is_valid_bids(no_ray, tmp_path):
    assert mrigen("generate", "--per-cell", 1, "--allow-untrained", "--num-steps", 1, "--out", tmp_path / "o") == 0
    validator = Path(sys.executable).with_name("bids-validator-deno")
    result = subprocess.run([validator, "--format", "json", tmp_path / "o"], capture_output=True, text=True)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0


def test_without_cells_those_that_the_model_was_trained_on_are_made(no_ray, tiny_run, tmp_path, capsys):
    command = ["generate", "--model", tiny_run / "model", "--per-cell", 1]
    assert mrigen(*command, "--out", tmp_path / "known") == 0
    told = "these are the cells that the model was trained on: --allow-untrained makes the others too, marked"
    assert told in capsys.readouterr().out
    known = pq.read_table(tmp_path / "known" / "manifest")
    assert known.num_rows == 19
    assert set(known["trained_cell"].to_pylist()) == {True}
    assert mrigen(*command, "--out", tmp_path / "all", "--allow-untrained") == 0
    assert told not in capsys.readouterr().out
    assert pq.read_table(tmp_path / "all" / "manifest").num_rows == 20
    assert mrigen(*command, "--out", tmp_path / "no", "--cells", "MS:PD") == 2
    assert "(--cells Healthy:T1w,Healthy:T1ce," in capsys.readouterr().err


def test_the_command_of_the_model_card_works(no_ray, tiny_run, tmp_path):
    card = (tiny_run / "model" / "README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("    mrigen generate")]
    places = {"FOLDER": tiny_run / "model", "OUT": tmp_path / "out"}
    assert mrigen(*[places.get(word, word) for word in line.split()[1:]]) == 0
    assert "`--cells Healthy:T1w`" in card
    for page in ("index.html", "README.md"):
        assert "trained on images from made up." in (tmp_path / "out" / page).read_text()
