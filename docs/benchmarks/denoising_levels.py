"""Which noise levels spoil samples: held-out latents with noise on them, denoised from there, and decoded.

    python -m docs.benchmarks.denoising_levels RUN [IMAGES] [TIMESTEP ...]

Of RUN, a folder with `data/` and `model/`, takes IMAGES (500) held-out images, and puts noise of each TIMESTEP (100,
300, 500, 700 of 1,000, and 999, which is sampling) on their latents. DDIM without guidance leads them back, in a step
for every 40 timesteps. Prints how the power of real latents is spread over frequencies, 1 being that of white noise;
and a table: how far latents end from where they began, in standard deviations, their power over that of real ones, and
KID (EfficientNet-Lite0) against training subjects.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from docs.benchmarks.held_out import BATCH, HeldOut
from mrigen.diffusion.process import PREDICTIONS, NoiseSchedule, add_noise
from mrigen.diffusion.solvers import CLEAN, Level, ddim_step
from mrigen.model_folder.files import Model, load_model
from mrigen.storage import Location

BANDS = (0.0, 0.07, 0.15, 0.25, 0.35, 0.45, 0.71)
"""Cycles per latent position."""


def spectrum(latents: Tensor) -> list[float]:
    """Mean power of standardised latents (N, C, H, W) in each of `BANDS`, of what differs between images."""
    power = torch.fft.fft2(latents - latents.mean(dim=0), norm="ortho").abs().square().mean(dim=(0, 1))
    frequency = torch.hypot(*torch.meshgrid(*(torch.fft.fftfreq(side) for side in latents.shape[2:]), indexing="ij"))
    return [float(power[(frequency >= low) & (frequency < high)].mean()) for low, high in itertools.pairwise(BANDS)]


@torch.inference_mode()
def denoised(model: Model, latents: Tensor, held_out: HeldOut, timestep: int) -> Tensor:
    """Latents (N, C, H, W) after noise of `timestep`, and the way back from it."""
    schedule = NoiseSchedule.build(model.config.diffusion)
    clean = PREDICTIONS[model.config.diffusion.prediction].clean
    steps = np.linspace(timestep, 0, max(4, timestep // 40), endpoint=False).round().astype(int)
    levels = [Level(float(schedule.alpha[step]), float(schedule.sigma[step]), 0.0) for step in steps]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noisy = add_noise(latents, noise, *(torch.tensor(value).float() for value in levels[0][:2]))
    for step, here, there in zip(steps, levels, [*levels[1:], CLEAN], strict=True):
        predicted = torch.cat(
            [
                model.denoiser(noisy[rows], torch.full((len(noisy[rows]),), int(step)), held_out.conditions[rows])
                for rows in (slice(first, first + BATCH) for first in range(0, len(noisy), BATCH))
            ]
        )
        alpha, sigma = torch.tensor(here.alpha).float(), torch.tensor(here.sigma).float()
        noisy = ddim_step(noisy, [clean(noisy, predicted, alpha, sigma)], [here, there])
    return noisy


@torch.inference_mode()
def main() -> None:
    run, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500
    model = load_model(run / "model")
    timesteps = [int(word) for word in sys.argv[3:]] or [100, 300, 500, 700, 999]
    held_out = HeldOut.read(Location.parse(run), count)
    means = torch.cat([model.codec.encode(batch).mean for batch in held_out.images.split(BATCH)])
    latents = model.statistics.standardised(means)
    grain = torch.randn(held_out.images.shape, generator=torch.Generator().manual_seed(1))
    shares = ", ".join(f"from {low:g}: {power:.2f}" for low, power in zip(BANDS, spectrum(latents), strict=False))
    print(f"power of latents by frequency, {shares}")
    print("| noise of timestep | error of latents | their power | KID |\n| --- | --- | --- | --- |")
    for timestep in [0, *timesteps]:
        found = denoised(model, latents, held_out, timestep) if timestep else latents
        restored = zip(model.statistics.restored(found).split(BATCH), grain.split(BATCH), strict=True)
        images = torch.cat([model.codec.decode(batch, noise) for batch, noise in restored])
        error, power = float((found - latents).square().mean().sqrt()), float(found.var() / latents.var())
        told = held_out.kid(images, str(timestep))
        print(f"| {timestep or 'none'} | {error:.2f} | {power:.2f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
