"""`mrigen spaces` on a tiny run: the time is used up, and a killed study ends as one left alone."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from mrigen.config import Config
from mrigen.each import one_by_one
from mrigen.images.index import index_real
from mrigen.labels import Cell
from mrigen.stages.spaces import spaces_run
from mrigen.storage import Location
from mrigen.studies.spaces.plan import SpacesPlan, plan_spaces
from tests.command import hashes, mrigen, mrigen_killed, wait_for
from tests.fake_run import tiny_config, write_data

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Healthy:FLAIR", "Dementia:T1w", "Dementia:FLAIR")]


def data_run(folder: Path, config: Config) -> Location:
    run = Location.parse(folder)
    (run / "config.json").write_json(config.model_dump(mode="json"))
    write_data(folder, CELLS, {"train": 4, "val": 1, "test": 3})
    return run


def planned(run: Location, config: Config) -> SpacesPlan:
    return plan_spaces(run, config, index_real(run / "data", "test"), "cpu")


def results(run: Location) -> Any:
    """`spaces.json` without what a clock told."""
    tree = (run / "spaces" / "spaces.json").read_json()
    for name in ("same_time", "same_steps"):
        for training in tree[name]:
            assert training.pop("took_s") > 0
    return tree


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_uses_its_time_and_is_not_done_twice(
    tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config("studies.space_minutes=0.4")
    run = data_run(tmp_path / "run", config)
    assert mrigen("spaces", run) == 0
    told = capsys.readouterr().out
    assert "a step in pixels takes" in told
    assert "In the same time, KID by efficientnet-lite0 is f4" in told
    page = tmp_path / "run" / "spaces" / "index.html"
    assert f"page: {page}" in told
    assert not re.search(r"<script|<link|@import|url\(|https?://", page.read_text())

    tree = (run / "spaces" / "spaces.json").read_json()
    assert list(tree["spaces"]) == ["f4", "f8", "pixels"]
    costs = tree["spaces"]
    assert costs["pixels"]["autoencoder_s"] == 0 < costs["f4"]["autoencoder_s"]
    assert costs["pixels"]["peak_bytes"] > 5 * costs["f4"]["peak_bytes"] > 5 * costs["f8"]["peak_bytes"]
    assert sorted(costs["pixels"]["step_s"])[3] > sorted(costs["f4"]["step_s"])[3]
    for training in tree["same_time"]:
        last = training["curve"][-1]
        assert last["step"] == training["num_steps"]
        step_s = sum(sorted(costs[training["space"]]["step_s"])[2:4]) / 2
        assert last["seconds"] <= 24 < last["seconds"] + step_s
        assert last["kid"]["n"] == 2 * 4
    assert len({training["num_steps"] for training in tree["same_steps"]}) == 1

    before = hashes(tmp_path / "run" / ".cache")
    first = hashes(tmp_path / "run" / "spaces")
    spaces_run(run, config, one_by_one)
    assert hashes(tmp_path / "run" / ".cache") == before
    assert hashes(tmp_path / "run" / "spaces")["spaces.json"] == first["spaces.json"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_study_ends_with_the_figures_of_one_left_alone(tmp_path: Path) -> None:
    config = tiny_config("studies.space_minutes=1", "denoiser.training.checkpoint_every=2")
    runs = [data_run(tmp_path / name, config) for name in ("killed", "alone")]
    # So that no clock decides what is trained: 12 steps of f4, 8 of pixels in a minute.
    for run in runs:
        plan = planned(run, config)
        for space, step_s in {"f4": 4.5, "f8": 4.5, "pixels": 7.0}.items():
            cost = {"autoencoder_s": 3.0, "encode_s": 2.0, "step_s": [step_s] * 6, "sample_s": [1.0] * 6}
            plan.cost_file(space).write_json(cost | {"peak_bytes": 1})
    steps = Path(planned(runs[0], config).folder.path)

    def amid_a_training() -> bool:
        return any(steps.glob("*/steps-*/ldm/checkpoints/*/COMPLETE.json"))

    status, _ = mrigen_killed(amid_a_training, "spaces", runs[0])
    assert status < 0
    # Ray's workers outlive their driver by a moment, in which they still write.
    wait_for(lambda: time.time() - max(path.lstat().st_mtime for path in steps.rglob("*") if path.exists()) > 5, 60)
    assert not (tmp_path / "killed" / "spaces").exists()
    for run in runs:
        spaces_run(run, config, one_by_one)
    assert results(runs[0]) == results(runs[1])
    assert [one["num_steps"] for one in results(runs[0])["same_time"]] == [12, 12, 7]
    seen = [
        hashes(Path(planned(run, config).folder.path), "tensorboard", "journal.jsonl", "before.json") for run in runs
    ]
    assert {name: seen[0][name] for name in seen[1]} == seen[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "studies.spaces=[f4,f3]"], "studies.spaces.1: Input should be 'f2', 'f4', 'f8', 'f16' or 'pixels'"),
        (["--set", "studies.space_minutes=0"], "studies.space_minutes: Input should be greater than 0"),
        (
            ["--set", "data.spacing_mm=2"],
            "data was made with other settings than now asked for (data.spacing_mm was 3.0",
        ),
        (["--set", "held_out_cells=[HC:T1w,HC:FLAIR,AD:T1w,AD:FLAIR]"], "no cell that is trained on has held-out real"),
    ],
)
def test_bad_input_ends_with_one_line(
    tmp_path: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data_run(tmp_path, tiny_config())
    assert mrigen("spaces", tmp_path, *args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "spaces").exists()


def test_a_run_without_data_names_what_to_do_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("spaces", tmp_path) == 2
    told = f"mrigen: error: {tmp_path / 'data'} is missing or unfinished: run `mrigen prepare {tmp_path}` first\n"
    assert capsys.readouterr().err == told
