"""What the trainer costs beside the bare loop of the same step, and what else a step is made dearer or cheaper by.

    python docs/benchmarks/training_ratios.py [--preset quick] [--batch-size 32] [--block 5] [--rounds 8]

All figures are ratios of seconds a step of the denoiser, of one run on one phantom cohort. Blocks of steps of the two
kinds take turns in one process with one torch thread, so that other work on the machine meets both alike; given are the
median of the ratios of their rounds by the clock, the quartiles, and the ratio of all seconds that the process computed
(which includes its threads that prepare batches and write checkpoints).

- a step on latents encoded as they are needed, over cached ones;
- a checkpoint in each block, over none, and recomputed activations, over kept ones;
- the trainer, in a worker of Ray Train, over a loop in that worker of forward, backward, clipping, AdamW and average
  on batches that lie ready: batches, journal, watch over the loss and Ray's messages are what it has more;
- two workers of one thread over one, the batch being shared out: trainings by themselves, of each kind two in turn,
  whose journals are compared: that asks for a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from mrigen.config import Config, load_config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.model_folder.files import load_codec
from mrigen.models.denoiser import Denoiser
from mrigen.storage import Location
from mrigen.training.checkpoints import Checkpoints
from mrigen.training.journal import Report, Stop, step_seconds
from mrigen.training.latents import read_statistics
from mrigen.training.ldm import train_denoiser
from mrigen.training.objective import Draw, denoiser_loss
from mrigen.training.places import Places
from mrigen.training.rows import TrainingRows
from mrigen.training.state import TrainingState

Seconds = tuple[float, float]
"""Of a step: by the clock, and computed by this process."""


def timed(call: Callable[[], object], num_steps: int) -> Seconds:
    began = time.perf_counter(), time.process_time()
    for _ in range(num_steps):
        call()
    return (time.perf_counter() - began[0]) / num_steps, (time.process_time() - began[1]) / num_steps


def told(what: str, rounds: list[tuple[Seconds, Seconds]]) -> None:
    """A row of the table: the first kind of step over the second."""
    seconds = np.array(rounds)  # (rounds, kind, clock and computed)
    low, median, high = np.quantile(seconds[:, 0, 0] / seconds[:, 1, 0], [0.25, 0.5, 0.75])
    computed = seconds[:, 0, 1].sum() / seconds[:, 1, 1].sum()
    step = np.median(seconds[:, 1, 0])
    shown = "-" if math.isnan(computed) else f"{computed:.3f}"
    print(f"| {what} | {median:.3f} ({low:.3f} to {high:.3f}) | {shown} | {step:.3g} s |", flush=True)


class Steps:
    """Steps on the latents of a run, without the trainer; the batches of eight steps lie ready."""

    def __init__(self, config: Config, run: Location, scratch: Path) -> None:
        self.config, self.schedule = config, NoiseSchedule.build(config.diffusion)
        self.statistics = read_statistics(run / "latents")
        self.latents = TrainingRows(run / "latents", "train", ["mean", "logvar"], scratch)
        self.draws = itertools.cycle([self.draw(step) for step in range(8)])
        torch.manual_seed(config.seed)
        self.model = Denoiser.build(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-5)
        self.average = EMAModel(self.model.parameters(), decay=0.995, foreach=True)

    def draw(self, step: int) -> Draw:
        places = Places.of_rank(0, 1, self.config.denoiser.training.batch_size, self.config.seed, step)
        return Draw.of(self.latents, places.rows(self.latents.order()), places, self.config, self.statistics)

    def learn(self, draw: Draw | None = None) -> None:
        denoiser_loss(self.model, draw or next(self.draws), self.schedule, self.config).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.model.parameters())


def trainer_and_bare_loop(config: Config, run: Location, accelerator: Accelerator, report: Report, stop: Stop) -> None:
    """A loop for Ray Train: the trainer, and after each of its blocks one of the bare loop."""
    import mrigen.training.journal

    mrigen.training.journal.LONGEST_SILENCE_S = math.inf  # blocks of equal length
    rounds: list[tuple[Seconds, Seconds]] = []
    block, began = config.denoiser.training.log_every, (0.0, 0.0)
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        bare = Steps(config, run, Path(scratch))

        def in_turn(step: int, values: Mapping[str, float]) -> None:
            nonlocal began
            report(step, values)
            if "loss" not in values:
                return
            now = time.perf_counter(), time.process_time()
            alone = timed(bare.learn, block)
            if step > block:  # the first is still warming up
                rounds.append((((now[0] - began[0]) / block, (now[1] - began[1]) / block), alone))
            began = time.perf_counter(), time.process_time()

        train_denoiser(config, run, accelerator, in_turn, stop)
    (run / "rounds.json").write_json(rounds)


def seconds_by(num_workers: int, config: Config, run: Path) -> list[Seconds]:
    """A step of each block but the first, by the journal of a training of its own."""
    from jobs.placement import Placement
    from jobs.train_workers import train

    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        shutil.copytree(run, scratch, dirs_exist_ok=True)
        own, placement = Location.parse(scratch), Placement(num_workers, cpus_per_worker=1)
        train(train_denoiser, "ldm", config.denoiser.training.num_steps, config, own, placement)
        blocks = step_seconds(own / "ldm", config.denoiser.training)
    return [(seconds / num_steps, math.nan) for num_steps, seconds in blocks[1:]]


def encoded_run(folder: Path, config: Config) -> Location:
    """A phantom cohort, and its latents by an autoencoder that was hardly trained."""
    from mrigen.each import one_by_one
    from mrigen.sources.options import Source
    from mrigen.sources.recognise import find_all_scans
    from mrigen.stages.encode import encode_run
    from mrigen.stages.phantom import phantom_run
    from mrigen.stages.prepare import prepare_run
    from mrigen.training.accelerator import make_accelerator
    from mrigen.training.vae import train_autoencoder

    run = Location.parse(folder)
    phantom_run(run / "phantom", one_by_one, subjects=8, seed=0)
    prepare_run(run, config, find_all_scans([Source(run / "phantom")]), one_by_one)
    train_autoencoder(config, run, make_accelerator(config), lambda step, values: None)
    encode_run(run, config, one_by_one)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--block", type=int, default=5, help="steps")
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    block, rounds = arguments.block, range(arguments.rounds)
    torch.set_num_threads(1)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # before Ray is imported
    from jobs.placement import Placement
    from jobs.train_workers import train

    settings = {"batch_size": arguments.batch_size, "log_every": block, "num_steps": block * (arguments.rounds + 1)}
    overrides = [f"denoiser.training.{name}={value}" for name, value in settings.items()]
    quick_run = ["autoencoder.training.num_steps=2", "denoiser.training.preview_every=1000000"]
    config = load_config(arguments.preset, overrides=[*overrides, *quick_run])
    with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
        scratch = Path(name)
        run = encoded_run(scratch / "run", config)
        print("| seconds a step | by the clock | computed | of the second |\n| --- | --- | --- | --- |")
        steps = Steps(config, run, scratch)
        codec = load_codec(config, run / "vae")
        images = TrainingRows(run / "data", "train", ["image"], scratch)
        shown = images.tensor("image", np.arange(arguments.batch_size) % len(images))[:, None]

        def online() -> None:
            with torch.no_grad():
                codec.encode(shown)
            steps.learn(steps.draw(0))

        told(
            "encoding online, over cached latents",
            [(timed(online, block), timed(lambda: steps.learn(steps.draw(0)), block)) for _ in rounds],
        )

        accelerator = Accelerator(cpu=True)
        checkpoints = Checkpoints(Location.parse(scratch / "checkpoints"), {})
        state = TrainingState(Denoiser.build(config), config.denoiser.training, accelerator, checkpoints)
        number = itertools.count(0)

        def update() -> None:
            loss = lambda step, draw: {"loss": denoiser_loss(state.network, draw, steps.schedule, config)}  # noqa: E731
            state.update(next(number) % block, [next(steps.draws)], loss)

        def with_checkpoint() -> None:
            checkpoints.save(1, steps.model, steps.average, steps.optimizer)  # a copy now, written beside the steps
            for _ in range(block):
                update()

        def of_a_step(seconds: Seconds) -> Seconds:
            checkpoints.wait()
            return seconds[0] / block, seconds[1] / block

        told(
            f"a checkpoint every {block} steps, over none",
            [(of_a_step(timed(with_checkpoint, 1)), timed(update, block)) for _ in rounds],
        )

        def recomputing(on: bool) -> Seconds:
            unet = steps.model.unet
            (unet.enable_gradient_checkpointing if on else unet.disable_gradient_checkpointing)()
            return timed(steps.learn, block)

        told("recomputed activations, over kept ones", [(recomputing(True), recomputing(False)) for _ in rounds])

        shutil.copytree(scratch / "run", scratch / "one")
        one = Location.parse(scratch / "one")
        num_steps, placement = config.denoiser.training.num_steps, Placement(cpus_per_worker=1)
        train(trainer_and_bare_loop, "ldm", num_steps, config, one, placement)
        told("trainer under Ray, over the bare loop", (one / "rounds.json").read_json())

        by = [seconds_by(num_workers, config, scratch / "run") for num_workers in (2, 1, 2, 1)]
        told("two workers, over one", list(zip(by[0] + by[2], by[1] + by[3], strict=True)))


if __name__ == "__main__":
    main()
