"""What the study of spaces plans, and the parts that it is made of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mrigen.config import Config, TrainingConfig, load_config
from mrigen.errors import InputError, Stopped
from mrigen.images.index import index_real
from mrigen.images.labelled import LabelledImages
from mrigen.labels import Cell
from mrigen.metrics.figure import Figure
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.denoiser import Denoiser
from mrigen.report.spaces.page import spaces_page
from mrigen.report.spaces.words import spaces_verdict
from mrigen.run import BorrowingRun
from mrigen.storage import Location
from mrigen.studies.spaces import training
from mrigen.studies.spaces.looking import SpaceNetworks
from mrigen.studies.spaces.plan import (
    Source,
    SpaceCost,
    SpaceShard,
    SpacesPlan,
    SpaceTraining,
    plan_shards,
    plan_spaces,
    plan_trainings,
    space_config,
)
from mrigen.studies.spaces.summary import Spaces, median_figure
from mrigen.training.journal import step_seconds
from mrigen.training.memory import PeakCounted
from tests.fake_run import tiny_config, write_data
from tests.unit.report.report_fakes import HOSTILE, Page, check_loads_nothing, check_stays_text, picture

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Dementia:T1w")]
COSTS = {
    "f4": SpaceCost(100.0, 10.0, [1.2, 1.0, 7.0], [0.1] * 6, 100 * 2**20),
    "f8": SpaceCost(150.0, 10.0, [0.5] * 6, [0.05] * 6, 50 * 2**20),
    "pixels": SpaceCost(0.0, 1.0, [10.0] * 6, [1.5] * 6, 1000 * 2**20),
}


def planned(folder: Path, *overrides: str) -> SpacesPlan:
    write_data(folder, CELLS, {"train": 2, "test": 2})
    run = Location.parse(folder)
    return plan_spaces(run, tiny_config(*overrides), index_real(run / "data", "test"), "cpu")


@pytest.mark.parametrize("minutes", [3.0, 10.0, 60.0])
def test_the_time_is_used_up_and_not_exceeded(minutes: float) -> None:
    trainings = plan_trainings(COSTS, minutes)
    for one in trainings["same_time"]:
        cost = COSTS[one.space]
        assert cost.seconds(one.num_steps) <= 60 * minutes < cost.seconds(one.num_steps + 1)
    fewest = min(one.num_steps for one in trainings["same_time"])
    assert trainings["same_steps"] == [SpaceTraining(space, fewest) for space in COSTS]
    assert COSTS["f4"].seconds(10) == 120.0  # the fastest, whatever others took


def test_time_that_is_too_short_names_the_space_and_the_remedy() -> None:
    with pytest.raises(InputError) as raised:
        plan_trainings(COSTS, 2.5)
    assert str(raised.value) == (
        "studies.space_minutes 2.5: in f8 the autoencoder and encoding took 160 s, which leaves no time for a step of "
        "0.5 s: give more minutes, or lower autoencoder.training.num_steps"
    )


@pytest.mark.parametrize("preset", ["tiny", "quick", "slice128", "slice256"])
def test_a_space_has_the_latents_that_its_name_tells_and_the_same_denoiser(preset: str) -> None:
    own = load_config(preset)
    for space in ("f2", "f4", "f8", "f16", "pixels"):
        config = space_config(own, space)
        factor = 1 if space == "pixels" else int(space[1:])
        assert config.latent_shape[1:] == (own.data.image_size // factor,) * 2
        same = {name: getattr(config.denoiser, name) for name in type(config.denoiser).model_fields}
        assert {name for name, value in same.items() if value != getattr(own.denoiser, name)} <= {"early_share"}
        with torch.device("meta"):
            assert Denoiser.build(config).unet.conv_in.in_channels == config.latent_shape[0]
            if space != "pixels":
                shape = Autoencoder.build(config).encode(torch.empty(1, 1, *config.data.image_shape)).mean.shape
                assert tuple(shape[1:]) == config.latent_shape
    assert space_config(own, f"f{own.autoencoder.downsampling}").autoencoder == own.autoencoder


def test_what_does_not_fit_a_space_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=re.escape("data.image_size 40 must be a multiple of the autoencoder's")
    ) as raised:
        space_config(tiny_config("data.image_size=40", "autoencoder.block_channels=[8, 8, 8]"), "f16")
    assert str(raised.value).startswith("studies.spaces: f16 does not fit: ")
    with pytest.raises(InputError, match=re.escape("studies.spaces.1: Input should be 'f2', 'f4', 'f8', 'f16' or 'pi")):
        tiny_config("studies.spaces=[f4, f3]")
    with pytest.raises(InputError, match=re.escape("spaces ['f4', 'f4'] names a value twice")):
        tiny_config("studies.spaces=[f4, f4]")
    with pytest.raises(InputError, match=re.escape("studies.spaces: Tuple should have at least 2 items")):
        tiny_config("studies.spaces=[f4]")
    with pytest.raises(
        InputError, match=re.escape(f"no cell that is trained on has held-out real images in {tmp_path}")
    ):
        planned(tmp_path, "held_out_cells=[HC:T1w,AD:T1w]")


def test_a_run_borrows_stages_and_nothing_below_them(tmp_path: Path) -> None:
    data = Location.parse(tmp_path / "a" / "data")
    run = BorrowingRun(data.filesystem, str(tmp_path / "b"), "", {"data": data})
    assert run / "data" / "part.parquet" == data / "part.parquet"
    assert str(run / "ldm") == str(tmp_path / "b" / "ldm")
    assert str(run / "ldm" / "data") == str(tmp_path / "b" / "ldm" / "data")
    assert str(run.parent) == str(tmp_path)


def test_what_a_study_is_kept_under_hangs_on_what_decides_it(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert planned(tmp_path).folder == plan.folder
    assert planned(tmp_path, "studies.space_minutes=7", "studies.spaces=[f2,pixels]").folder == plan.folder
    for other in ("seed=1", "sampler.num_steps=2", "denoiser.layers_per_block=2", "autoencoder.training.num_steps=9"):
        assert planned(tmp_path, other).folder != plan.folder
    write_data(tmp_path, CELLS, {"train": 3, "test": 2})
    run = Location.parse(tmp_path)
    assert plan_spaces(run, tiny_config(), index_real(run / "data", "test"), "cpu").folder != plan.folder


def test_every_cell_is_sampled_at_every_mark_and_real_images_in_every_space(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    shards = plan_shards(plan, [SpaceTraining("f4", 9), SpaceTraining("pixels", 2)], per_cell=40)
    numbers: dict[Source, int] = {}
    for shard in shards:
        assert len(shard.ids) <= 64
        numbers[shard.source] = numbers.get(shard.source, 0) + len(set(shard.ids))
    real = {Source(space): 2 * 2 * 3 for space in ("", "f4", "f8", "pixels")} | {Source("f4"): 2 * 2}
    marks = [Source("f4", 9, 2), Source("f4", 9, 3), Source("f4", 9, 5), Source("f4", 9, 9)]
    marks += [Source("pixels", 2, 1), Source("pixels", 2, 2)]
    assert {source: count for source, count in numbers.items() if source.num_steps} == dict.fromkeys(marks, 80)
    assert {source for source in numbers if not source.num_steps} == set(real)
    assert numbers[Source()] == 12


def test_pixels_restore_every_image_as_it_is(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    networks = SpaceNetworks(plan, tiny_config())
    [shard] = [one for one in plan_shards(plan, [], 2) if one.source == Source("pixels")]
    restored, real = networks._real(shard), LabelledImages.read(plan.index, shard.rows)
    assert len(real) == 4
    assert np.array_equal(restored.pixels, real.pixels)
    assert restored.owners == real.owners


def test_a_training_that_takes_long_makes_way_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, steps = planned(tmp_path), iter(range(100))

    def train(config: Config, run: Location, accelerator: Any, report: Any, stop: Any, marks: Any) -> None:
        assert (config.denoiser.training.num_steps, marks) == (4, (1, 2, 4))
        for _ in range(next(steps), 4):
            if stop():
                raise Stopped("stopped")

    monkeypatch.setattr(training, "train_denoiser", train)
    monkeypatch.setattr(training, "TURN_S", -1.0)
    one = SpaceTraining("f4", 4)
    assert [training.train_space(plan, "cpu", one) for _ in range(5)] == [False] * 4 + [True]
    monkeypatch.setattr(training, "TURN_S", 1e6)
    steps = iter(range(100))
    assert training.train_space(plan, "cpu", one)


def test_seconds_of_training_leave_out_that_a_killed_run_stood_still(tmp_path: Path) -> None:
    settings = TrainingConfig(num_steps=30, batch_size=8)
    # Two seconds a step; killed, and an hour later taken up from a checkpoint of step 12, at one second.
    lines = [(10, 4.0, 20), (12, None, 24), (20, 8.0, 3700), (20, None, 3700), (30, 8.0, 3710)]
    tree = [
        {"step": step, "time": when} | ({"val_loss": 1.0} if rate is None else {"images_per_s": rate})
        for step, rate, when in lines
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in tree))
    assert step_seconds(Location.parse(tmp_path), settings) == [(10, 20.0), (10, 10.0), (10, 10.0)]


def test_the_peak_counts_what_lives_at_once() -> None:
    with PeakCounted() as memory:
        a = torch.zeros(1000)
        for _ in range(3):
            b = a + 1.0
            del b
        assert memory.peak == 2 * 4000
        kept = [a * 2.0, a.view(10, 100), a.exp_()]
        assert memory.peak == 2 * 4000
        x = torch.ones(1000, requires_grad=True)
        del kept
        loss = x.exp().sin().sum()  # x, and what sin keeps
        assert memory.peak < 5 * 4000
        loss.backward()
    assert memory.peak >= 4 * 4000


def study(kids: Mapping[str, float], width: float = 0.05) -> Spaces:
    trainings = plan_trainings(COSTS, 10.0)
    spread = (-width, width)
    kid = {Source(space): Figure.of(0.01, 40) for space in COSTS}
    for some in trainings.values():
        for one in some:
            for mark in one.marks:
                value = kids[one.space] * (2 - mark / one.num_steps)
                ends = (value + spread[0], value + spread[1]) if width else None
                kid[Source(one.space, one.num_steps, mark)] = Figure.of(value, 80, ends)
    pictures = {
        Source(one.space, one.num_steps, one.num_steps): {CELLS[0]: picture(0, 0)} for one in trainings["same_time"]
    }
    shapes = {"f4": (4, 16, 16), "f8": (4, 8, 8), "pixels": (1, 64, 64)}
    took = {one: 61.0 for some in trainings.values() for one in some}
    return Spaces(10.0, COSTS, shapes, trainings, took, kid, tuple(CELLS), 40, pictures)


def test_the_verdict_holds_pixels_against_latents() -> None:
    said = spaces_verdict(study({"f4": 0.2, "f8": 0.22, "pixels": 0.5}))
    assert said[0] == (
        "At its fastest a step in pixels takes 10 times as long as in f4 and 10 times the memory, a sample 15 times as "
        "long."
    )
    assert said[2] == (
        "In the same time, KID by efficientnet-lite0 is f4 0.200 (0.150 to 0.250) after 490 steps, "
        "f8 0.220 (0.170 to 0.270) after 880 steps, pixels 0.500 (0.450 to 0.550) after 59 steps; f4 comes nearest, by "
        "intervals apart from pixels and not apart from f8."
    )
    assert said[3].startswith("After the same number of steps, KID by efficientnet-lite0 is f4 0.200")
    assert (
        "pixels comes nearest, by intervals apart from f4 and f8."
        in spaces_verdict(study({"f4": 0.5, "f8": 0.5, "pixels": 0.1}))[2]
    )
    assert "by intervals not apart from" in spaces_verdict(study({"f4": 0.1, "f8": 0.3, "pixels": 0.5}, width=0))[2]


def test_there_is_a_reason_where_there_is_no_kid() -> None:
    known = study({"f4": 0.2, "f8": 0.2, "pixels": 0.5})
    unknown = replace(known, kid=dict.fromkeys(known.kid, Figure.missing("one subject alone", 80)))
    assert spaces_verdict(unknown)[2] == "In the same time, there is no KID: one subject alone."
    page = Page(spaces_page("Spaces", unknown, [], {}, plane="axial"))
    assert "one subject alone" in page.words


def test_the_page_tells_cost_and_quality_of_every_space() -> None:
    known = study({"f4": 0.2, "f8": 0.22, "pixels": 0.5})
    html = spaces_page(HOSTILE, known, [HOSTILE], {HOSTILE: HOSTILE}, plane="axial")
    check_loads_nothing(html)
    check_stays_text(html, 4)
    words = Page(html).words
    for told in ("4 x 16 x 16", "100 s + 10 s", "1000.0 MiB", "1.200 1.000 to 7.000 N 3", "0.200 0.150 to 0.250 N 80"):
        assert told in words
    assert len(Page(html).images()) == 3 + 1  # of each space a sample, and the curves


def test_the_range_of_six_values_holds_their_median() -> None:
    figure = median_figure([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    assert (figure.value, figure.n, figure.interval) == (3.5, 6, (1.0, 6.0))
    drawn = np.random.default_rng(0).exponential(size=(20000, 6))
    share = ((drawn.min(1) < math.log(2)) & (drawn.max(1) > math.log(2))).mean()
    assert share == pytest.approx(1 - 2**-5, abs=0.004)


def test_shards_name_their_images() -> None:
    assert SpaceShard(Source("f4", 1, 1), samples=((CELLS[0], 3),)).ids == ["Healthy:T1w-3"]
