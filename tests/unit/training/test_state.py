"""What a training run carries from step to step: the average of the weights, and batches made ahead of the step."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from types import SimpleNamespace

import pyarrow.fs as pafs
import pytest
import torch
from torch import nn

from mrigen.config import TrainingConfig
from mrigen.errors import InputError
from mrigen.labels import all_cells
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.checkpoints import Checkpoints
from mrigen.training.journal import Journal
from mrigen.training.memory import activations_counted
from mrigen.training.prefetch import AHEAD, prefetched
from mrigen.training.state import TrainingState, learning_rate
from tests.fake_run import tiny_config

CONFIG = tiny_config()


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    config = TrainingConfig(num_steps=100, warmup_steps=10, learning_rate=2.0)
    rates = torch.tensor([learning_rate(step, config) for step in range(101)])
    assert rates[:10].tolist() == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.1)  # half-way down
    assert rates[100] == pytest.approx(0.2)
    assert (rates[10:].diff() < 0).all()


def test_the_average_is_the_weighted_sum_of_the_weights_of_all_steps(tmp_path):
    """Weights after step i count by (1 - d_i) * d_(i+1) * ... * d_n, where d_i = min(decay, i / (9 + i)) from i = 0."""
    torch.manual_seed(0)
    settings = TrainingConfig(num_steps=30, warmup_steps=1, learning_rate=0.1, ema_decay=0.6)
    model = nn.Linear(3, 2)
    checkpoints = Checkpoints(Location.parse(tmp_path / "checkpoints"), {})
    state = TrainingState(model, settings, make_accelerator(tiny_config()), checkpoints)
    weights = []
    for step in range(settings.num_steps):
        state.update(step, [torch.randn(5, 3)], lambda step, batch: {"loss": state.network(batch).square().mean()})
        weights.append(model.weight.detach().clone())
    decays = torch.tensor([0.0] + [min(0.6, (1 + i) / (10 + i)) for i in range(1, settings.num_steps)])
    later = decays.flip(0).cumprod(0).flip(0).roll(-1)
    later[-1] = 1.0
    share = (1 - decays) * later
    assert float(share.sum()) == pytest.approx(1.0)
    with state.averaged():
        torch.testing.assert_close(model.weight, (share[:, None, None] * torch.stack(weights)).sum(0))
    assert torch.equal(model.weight, weights[-1])


def new_state(folder, num_steps=100, **settings) -> tuple[nn.Linear, TrainingState]:
    """A layer of 3 to 2 numbers, about to be trained."""
    torch.manual_seed(0)
    model, settings = nn.Linear(3, 2), TrainingConfig(num_steps=num_steps, warmup_steps=0, **settings)
    checkpoints = Checkpoints(Location.parse(folder / "checkpoints"), {})
    return model, TrainingState(model, settings, make_accelerator(tiny_config()), checkpoints, lambda step: ["a", "b"])


def test_the_gradients_of_unequal_parts_add_up_to_those_of_the_whole(tmp_path):
    images, found = torch.randn(5, 3), []
    for parts in ([images], images.split(2), images.split(1)):
        model, state = new_state(tmp_path, batch_size=5)
        terms = [
            state.update(step, parts, lambda step, part: {"loss": state.network(part).square().mean()})  # noqa: B023
            for step in range(3)
        ]
        found.append(([term["loss"] for term in terms], [term["grad_norm"] for term in terms], model.weight.detach()))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_a_loss_of_ten_times_its_mean_stops_with_the_step_the_images_and_the_last_good_checkpoint(tmp_path):
    model, state = new_state(tmp_path, log_every=50, batch_size=1)
    state.keep(3, stopping=False)
    for step in range(40):  # the loss is 1 or 9.9; at step 31 it is 14, at step 36 not finite
        scale = {20: 9.9, 30: 14.0, 35: float("nan")}.get(step, 1.0)
        loss = lambda step, part: {"loss": scale * (1 + 0 * model.weight.sum())}  # noqa: B023, E731
        state.update(step, [torch.ones(1)], loss)
    with pytest.raises(InputError) as error:
        state.keep(40, stopping=True)
    checkpoint = "none"
    assert str(error.value) == (
        "training broke down at step 31: a loss of 14, on average 1.297 before, with a gradient of length 0. Look at "
        "the images of that step or lower the learning_rate, 0.001. The last good checkpoint: "
        f"{checkpoint}. The images: a, b"
    )


def test_the_rehearsal_tells_what_a_step_takes_and_changes_nothing(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="mrigen")
    model, state = new_state(tmp_path, num_steps=3600, batch_size=5)
    before, seconds = model.weight.detach().clone(), itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr("mrigen.training.state.measured_peak", lambda device, dtype: 1200.0)
    parts = torch.randn(3, 3), torch.randn(2, 3)
    image_at_peak_s = state.rehearse(parts, lambda step, part: {"loss": state.network(part).square().mean()})
    assert image_at_peak_s == (2 * 3 * 2 + 2 * 2 * 3) / 1200  # there, and back to the weights
    assert torch.equal(model.weight, before)
    assert model.weight.grad is None
    assert caplog.messages[-1] == (
        "a step of 5 images on 1 worker(s), 3 at once: activations of 0.0 MiB, 1 s, 5 images a second, "
        "10 % of a peak of 1.2e-06 GFLOP/s each; about 1:00:00 to the end"
    )
    needs = 3 * 3 * 4 + 3 * 2 * 4 + 3 * 4 * (3 * 2 + 2)  # what comes in and goes out; gradient and moments
    for free in (needs, needs - 1):
        monkeypatch.setattr("mrigen.training.state.free_memory", lambda device, free=free: free)
        with contextlib.nullcontext() if free == needs else pytest.raises(InputError) as error:
            state.rehearse(parts, lambda step, part: {"loss": state.network(part).square().mean()})
    assert str(error.value) == (
        "3 image(s) at once take more than the 0.0 MiB of memory that are free beside weights and optimiser: "
        "set training.micro_batch_size to 1, or denoiser.recompute_activations to true"
    )


@pytest.mark.parametrize("network", ["unet", "conv"])
def test_activations_are_counted_on_meta_tensors_too_and_are_fewer_where_they_are_recomputed(network):
    sizes, config = {}, tiny_config(f"denoiser.network={network}")
    for device, recompute in (("cpu", False), ("meta", False), ("meta", True)):
        with torch.device(device):
            model, latents = Denoiser.build(config), torch.zeros(2, *config.latent_shape)
        if recompute:
            model.unet.enable_gradient_checkpointing()
        conditions = Conditions.of(all_cells()[:2], [0.0] * 2).to(torch.device(device))
        with activations_counted(model) as kept:
            model(latents, torch.zeros(2, device=device), conditions)
        sizes[device, recompute] = sum(kept)
    assert sizes["meta", False] == pytest.approx(sizes["cpu", False], rel=0.02)  # of attention another kernel's
    assert sizes["meta", True] < sizes["meta", False] / 4


def test_batches_are_made_in_order_and_ahead_of_the_step():
    made = []
    batches = prefetched(lambda step: made.append((step, threading.current_thread())) or 10 * step, range(3, 9))
    assert next(batches)[:2] == (3, 30)
    batches_after = [(step, batch) for step, batch, _ in batches]
    assert batches_after == [(step, 10 * step) for step in range(4, 9)]
    assert [step for step, _ in made] == list(range(3, 9))
    assert {thread for _, thread in made}.isdisjoint({threading.main_thread()})


def test_no_more_than_the_next_batches_are_made():
    waiting, made = threading.Event(), []

    def prepare(step: int) -> int:
        made.append(step)
        if step == AHEAD:
            waiting.set()
        return step

    batches = prefetched(prepare, range(100))
    next(batches)
    assert waiting.wait(60)
    batches.close()
    assert made == list(range(AHEAD + 1))


def test_what_a_batch_raises_is_raised_at_its_step():
    batches = prefetched(lambda step: 1 // (2 - step), range(5))
    assert [next(batches)[:2], next(batches)[:2]] == [(0, 0), (1, 1)]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_scalars_come_every_log_every_steps_and_after_ten_seconds_at_the_latest(tmp_path, monkeypatch):
    now, seen = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    settings = TrainingConfig(num_steps=12, log_every=5, batch_size=4)
    journal = Journal(
        Location.parse(tmp_path), settings, 0, lambda step, values: seen.append((step, dict(values))), 1e-3
    )
    for done in range(1, 13):
        now[0] += 11.0 if done == 7 else 0.1
        journal.step(done, {"loss": torch.tensor(float(done))}, waited=0.01)
    journal.close()
    steps_and_seconds = {5: (5, 0.5), 7: (2, 11.1), 10: (3, 0.3), 12: (2, 0.2)}
    assert seen == [
        (done, {"loss": float(done), "images_per_s": pytest.approx(4 * steps / seconds),
                "data_wait": pytest.approx(0.01 * steps / seconds),
                "peak_share": pytest.approx(1e-3 * 4 * steps / seconds)})
        for done, (steps, seconds) in steps_and_seconds.items()
    ]  # fmt: skip


def test_steps_that_beat_the_peak_raise_it(tmp_path, monkeypatch):
    now, shares = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    settings = TrainingConfig(num_steps=4, log_every=1, batch_size=1)
    journal = Journal(
        Location.parse(tmp_path), settings, 0, lambda step, values: shares.append(values["peak_share"]), 2.0
    )
    for done, seconds in enumerate([4.0, 1.0, 0.5, 1.0], start=1):  # at the peak as it was measured an image takes 2
        now[0] += seconds
        journal.step(done, {}, waited=0.0)
    journal.close()
    assert shares == pytest.approx([0.5, 1.0, 1.0, 0.5])


@pytest.mark.parametrize("remote", [False, True])
def test_the_journal_is_gone_on_with_after_a_kill(tmp_path, remote):
    folder = Location.parse(tmp_path)
    if remote:
        folder = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "stage")
        folder.filesystem.create_dir("stage/tensorboard")  # an object store would need none
    settings, told = TrainingConfig(num_steps=12, log_every=2), []
    journal = Journal(folder, settings, 0, lambda step, values: told.append(set(values)), 1.0)
    for done in (2, 4, 6):
        journal.scalars(done, {"val_loss": 1.0, "val_loss/Healthy:T1w": 1.5})
    journal.flush()
    journal = Journal(folder, settings, 4, lambda step, values: None, 1.0)  # from the checkpoint of step 4
    journal.scalars(6, {"val_loss": 2.0})
    journal.close()
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().splitlines()]
    assert [(line["step"], line["val_loss"]) for line in lines] == [(2, 1.0), (4, 1.0), (6, 2.0)]
    assert lines[0]["val_loss/Healthy:T1w"] == 1.5
    assert told == [{"val_loss"}] * 3  # parts are not for a line in a terminal


def test_what_training_takes_is_told_and_no_room_for_it_is_an_error(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="mrigen")
    model, settings, accelerator = nn.Linear(1023, 1024), TrainingConfig(num_steps=1), make_accelerator(tiny_config())
    checkpoints = Checkpoints(Location.parse(tmp_path / "vae/checkpoints"), {})
    TrainingState(model, settings, accelerator, checkpoints)
    told = "1,048,576 parameters: with gradients, optimiser and average 20.0 MiB, beside activations; checkpoints up to"
    assert caplog.messages == [f"{told} 64.0 MiB"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=20 * 2**20))
    with pytest.raises(InputError, match=r"two checkpoints take 32.0 MiB and the disk has 20.0 MiB: make room"):
        TrainingState(model, settings, accelerator, checkpoints)
