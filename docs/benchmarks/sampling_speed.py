"""Samples a second: workers of `Pipeline`, one a core, against a plain diffusers loop on all cores, in one run.

    python docs/benchmarks/sampling_speed.py [--model FOLDER] [--samples 128] [--rounds 3]

The loop: DDIM, 50 steps, batches of 32, with and without the conditions at each step, float32. The pipeline: the
model's own sampler, in float32, in bf16, which pays on GPUs and on CPUs with AVX512-BF16 or AMX, and in bf16 with as
many samples at once as the loop. Loading is not counted. All take turns, `--rounds` times; prints each one's best and
its ratio to the loop's.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import click
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from mrigen.labels import all_cells
from mrigen.model_folder.files import load_model
from mrigen.models.conditioning import Conditions
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest

BATCH, STEPS = 32, 50
SAMPLERS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    f"bf16, {BATCH} at once": {"precision": "bf16", "compute_batch": BATCH},
}


class Loop:
    """What a user of diffusers writes."""

    def __init__(self, folder: Path) -> None:
        self.model = load_model(folder)
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
        self.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")

    @torch.no_grad()
    def __call__(self, count: int) -> None:
        """Draw `count` images, guided, without looking at them."""
        self.scheduler.set_timesteps(STEPS)
        scale, cells = self.model.config.sampler.guidance_scale, all_cells()
        for start in range(0, count, BATCH):
            chosen = [cells[number % len(cells)] for number in range(start, min(start + BATCH, count))]
            conditions = Conditions.of(chosen, [0.0] * len(chosen))
            tokens = self.model.denoiser.conditioner(Conditions.joined(conditions, conditions.without_cell()))
            latents = torch.randn(len(chosen), *self.model.config.latent_shape)
            for timestep in self.scheduler.timesteps:
                predicted = self.unet(torch.cat([latents] * 2), timestep, encoder_hidden_states=tokens).sample
                asked, null = predicted.chunk(2)
                latents = self.scheduler.step(null + scale * (asked - null), timestep, latents).prev_sample
            self.model.codec.decode(self.model.statistics.restored(latents))


_pipeline: Pipeline


def _load(folder: Path) -> None:
    global _pipeline
    torch.set_num_threads(1)
    _pipeline = Pipeline.load(folder)


def _sample(settings: dict[str, Any], numbers: range) -> None:
    cells, sampler = all_cells(), _pipeline.config.sampler.model_copy(update=settings)
    _pipeline.sample([SampleRequest(cells[number % len(cells)], number, sampler, 0.0) for number in numbers])


@click.command()
@click.option("--model", type=click.Path(path_type=Path))
@click.option("--samples", default=128)
@click.option("--rounds", default=3)
def main(model: Path | None, samples: int, rounds: int) -> None:
    folder = model or Path(str(resources.files("mrigen") / "embedded" / "model"))
    workers = os.cpu_count() or 1
    loop, shares = Loop(folder), [range(worker, samples, workers) for worker in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers, _load, (folder,)) as pool:

        def pipeline(settings: dict[str, Any], of_worker: Sequence[range] = shares) -> None:
            pool.starmap(_sample, [(settings, numbers) for numbers in of_worker], 1)

        ways = {"loop": lambda: loop(samples)}
        ways |= {name: functools.partial(pipeline, settings) for name, settings in SAMPLERS.items()}
        best = dict.fromkeys(ways, float("inf"))
        for settings in SAMPLERS.values():
            pipeline(settings, [range(1)] * workers)
        for _ in range(rounds):
            for name, work in ways.items():
                started = time.perf_counter()
                work()
                best[name] = min(best[name], time.perf_counter() - started)
    sampler = loop.model.config.sampler
    print(f"{samples} samples, {workers} cores, best of {rounds}")
    print(f"diffusers loop, DDIM, {STEPS} steps, batches of {BATCH}: {samples / best['loop']:.2f} samples a second")
    how = (
        f"{sampler.solver}, {sampler.num_steps} steps, guidance in {list(sampler.guidance_interval)}, {workers} workers"
    )
    for name in SAMPLERS:
        print(f"mrigen, {how}, {name}: {samples / best[name]:.2f} a second, {best['loop'] / best[name]:.1f} times")


if __name__ == "__main__":
    main()
