"""The runs in a folder: how far they are, and in what they differ."""

from __future__ import annotations

import json
import shutil

import pytest

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.metrics_json import metrics_json
from mrigen.report.runs import RunFacts, differing, read_runs
from mrigen.run import store_config
from mrigen.storage import Location
from tests.command import mrigen
from tests.fake_run import tiny_config
from tests.unit.report.report_fakes import LEAD, some_evaluation


@pytest.fixture
def folder(tiny_run, tmp_path):
    """A run that trained a model, one at work with two other settings, and a folder that is none."""
    shutil.copytree(tiny_run, tmp_path / "first")
    evaluation = some_evaluation({f"{LEAD}/kid": Figure.of(0.2, 17, (0.1, 0.3))})
    metrics = metrics_json(evaluation, Config(), [], {}, {})
    Location.parse(tmp_path / "first/report/metrics.json").write_json(metrics)
    second = Location.parse(tmp_path / "second")
    store_config(second, tiny_config("seed=5", "denoiser.training.learning_rate=0.5", "denoiser.training.log_every=7"))
    (second / "latents/_SUCCESS.json").write_json({})
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (2, 6)]
    (second / "ldm/journal.jsonl").write_bytes("\n".join([*lines, '{"step": 7, "lo']).encode())  # killed amid it
    (tmp_path / "other").mkdir()
    return Location.parse(tmp_path)


def test_runs_are_told_with_what_they_do_not_share(folder):
    first, second = runs = read_runs(folder)
    assert (first.name, first.done, first.at, first.kid) == ("first", "evaluate", "", "0.200 (0.100 to 0.300)")
    assert (second.name, second.done, second.at) == ("second", "encode", "train-ldm 6/8")
    assert differing(runs) == [
        {"seed": 0, "denoiser.training.learning_rate": 5e-4, "held_out_cells": ["Sclerosis:PD"]},
        {"seed": 5, "denoiser.training.learning_rate": 0.5, "held_out_cells": []},
    ]
    [alone] = read_runs(folder / "second")
    assert alone == second
    assert isinstance(alone, RunFacts)


def test_the_verb_prints_them_and_refuses_a_folder_without(folder, capsys):
    store_config(folder / "a[b]", tiny_config("seed=5"))
    assert mrigen("runs", folder) == 0
    printed = capsys.readouterr().out
    assert "train-ldm 6/8" in printed
    assert "seed=5" in printed
    assert " a[b] " in printed
    for content in (b'{"gone": 1}', b"{"):  # of another version; damaged
        (folder / "second/config.json").write_bytes(content)
        _, first, second = read_runs(folder)
        assert (first.at, second.at, second.settings) == ("", "train-ldm 6/?", {})
    with pytest.raises(InputError, match=r"^no run in .*other: name a folder that holds run folders"):
        read_runs(folder / "other")
