"""What is trained in each space, and what it takes. All of it goes on where a killed process stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from mrigen.errors import Stopped
from mrigen.pipeline import Pipeline
from mrigen.records import prepared_parts
from mrigen.samples import SampleRequest
from mrigen.studies.spaces.plan import PIXELS, SpaceCost, SpacesPlan, SpaceTraining
from mrigen.training.accelerator import make_accelerator
from mrigen.training.journal import Stop, step_seconds
from mrigen.training.latents import Encoder, close_latents
from mrigen.training.ldm import train_denoiser
from mrigen.training.memory import PeakCounted
from mrigen.training.vae import train_autoencoder

TURN_S = 600.0
"""After which a training makes way: a Ray Data worker may not be silent for half an hour, and who asks it to stop waits
for what is in hand."""
NUM_WARM, NUM_TIMED = 2, 6
"""Steps, and batches of samples, that are not timed and that are: six values hold their median with 97 %."""


def encode_space(plan: SpacesPlan, device: Any, space: str) -> bool:
    """Train the autoencoder of a space and encode the images; False if that took its turn and needs another."""
    config, run, file = plan.configs[space], plan.space_run(space), plan.folder / space / "before.json"
    if file.is_file():
        return True
    accelerator = make_accelerator(config, device)
    if not _in_turn(lambda stop: train_autoencoder(config, run, accelerator, _silent, stop)):
        return False
    trained = [] if space == PIXELS else step_seconds(run / "vae", config.autoencoder.training)
    (run / "latents").delete()  # so that all of it is timed
    began = time.monotonic()
    encoder = Encoder(run, config, device)
    close_latents(run, config, [encoder.encode(name) for name in sorted(prepared_parts(run / "data"))])
    seconds = {"autoencoder_s": float(sum(took for _, took in trained)), "encode_s": time.monotonic() - began}
    file.write_json(seconds)
    return True


def measure_spaces(plan: SpacesPlan, device: Any, spaces: tuple[str, ...]) -> None:
    """Take the `SpaceCost` of one space after the other, where it is not known yet."""
    for space in spaces:
        if not plan.cost_file(space).is_file():
            plan.cost_file(space).write_json(asdict(_measured(plan, device, space)))


def _measured(plan: SpacesPlan, device: Any, space: str) -> SpaceCost:
    timed, counted = plan.space_run(space, "timed"), plan.space_run(space, "counted")
    config = plan.training_config(SpaceTraining(space, NUM_WARM + NUM_TIMED), log_every=1, checkpoint_every=None)
    accelerator = make_accelerator(config, device)
    train_denoiser(config, timed, accelerator, _silent)
    steps = [took for _, took in step_seconds(timed / "ldm", config.denoiser.training)]
    with PeakCounted() as memory, contextlib.suppress(_TwoStepsDone):
        train_denoiser(config, counted, accelerator, _leave_after_two)
    pipeline, batches = Pipeline.load(timed / "model", device), []
    requests = [SampleRequest(plan.cells[0], seed, config.sampler) for seed in range(config.sampler.compute_batch)]
    for _ in range(1 + NUM_TIMED):
        began = time.monotonic()
        pipeline.sample(requests)
        batches.append((time.monotonic() - began) / len(requests))
    before = (plan.folder / space / "before.json").read_json()
    cost = SpaceCost(**before, step_s=steps[NUM_WARM:], sample_s=batches[1:], peak_bytes=memory.peak)
    for scratch in (timed, counted):
        scratch.delete()
    return cost


def train_space(plan: SpacesPlan, device: Any, training: SpaceTraining) -> bool:
    """Train a denoiser and keep its averaged weights at the marks; False if that took its turn and needs another."""
    config, run = plan.training_config(training), plan.training_run(training)
    accelerator = make_accelerator(config, device)
    return _in_turn(lambda stop: train_denoiser(config, run, accelerator, _silent, stop, training.marks))


def _in_turn(train: Callable[[Stop], None]) -> bool:
    """Whether a training came to its end within `TURN_S`."""
    end = time.monotonic() + TURN_S
    try:
        train(lambda: time.monotonic() >= end)
    except Stopped:
        return False
    return True


class _TwoStepsDone(Exception):
    """The second step is the first that has all there is: what the optimiser keeps is made by the first."""


def _leave_after_two(step: int, values: Mapping[str, float]) -> None:
    if step == 2:
        raise _TwoStepsDone


def _silent(step: int, values: Mapping[str, float]) -> None:
    """Tell nobody."""
