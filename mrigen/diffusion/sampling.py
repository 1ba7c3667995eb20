"""From noise to clean latents: the walk over the noise levels, guidance, and the noise of samples by their seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from mrigen.config import SamplerConfig
from mrigen.diffusion.process import PREDICTIONS, NoiseSchedule
from mrigen.diffusion.solvers import CLEAN, SOLVERS, Level

TEXTURE_STEP = 2**32
"""Number under which `sample_noise` gives the noise of a sample's texture; those of a solver's steps are less."""
Predict = Callable[[Tensor, int], Tensor]
"""Noisy latents (B, C, *spatial) and their timestep -> what the network predicts, such as v."""
NoiseSource = Callable[[int], Tensor]
"""The number of a step, from 1, or 0 for where the walk starts -> standard normal noise (B, C, *spatial)."""


def sample_noise(seeds: Iterable[int], shape: tuple[int, ...], step: int = 0) -> Tensor:
    """Standard normal noise (B, *shape), each row from a CPU generator that its own 64-bit seed and the step key.

    Philox, not torch's Mersenne Twister: that keeps 32 bits of a seed, and among 10^7 samples thousands
    would share their noise.
    """
    keys = [seed + (step << 64) for seed in seeds]
    rows = [np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32) for key in keys]
    return torch.from_numpy(np.stack(rows))


def sampling_timesteps(num_train_timesteps: int, num_steps: int) -> list[int]:
    """`num_steps` descending timesteps from the last ("trailing" spacing: Lin et al. 2024, table 2).

    Raises ValueError unless 1 <= num_steps <= num_train_timesteps.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"num_steps {num_steps} must lie between 1 and {num_train_timesteps}")
    return [round(num_train_timesteps * (1 - i / num_steps)) - 1 for i in range(num_steps)]


def guidance_acts(sampler: SamplerConfig, timestep: int, num_train_timesteps: int) -> bool:
    """Whether there is guidance, and the timestep lies in its part of the schedule."""
    lowest, highest = sampler.guidance_interval
    return bool(sampler.guidance_terms) and lowest <= timestep / (num_train_timesteps - 1) <= highest


def num_evaluations(sampler: SamplerConfig, num_train_timesteps: int) -> int:
    """Times that the denoiser looks at one sample: at a guided step once for every term and for the null."""
    timesteps = sampling_timesteps(num_train_timesteps, sampler.num_steps)
    num_guided = sum(guidance_acts(sampler, timestep, num_train_timesteps) for timestep in timesteps)
    return sampler.num_steps + num_guided * len(sampler.guidance_terms)


def guided(null: Tensor, terms: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Null + the sum over terms (scale (B,), prediction (B, C, *spatial)) of scale * (prediction - null).

    One term is classifier-free guidance (Ho and Salimans 2021), several compose conditions (Liu et al. 2022, eq. 11).
    """
    result = null
    for scale, predicted in terms:
        result = result + scale.view((-1,) + (1,) * (null.dim() - 1)) * (predicted - null)
    return result


@torch.no_grad()
def solve(
    solver: str,
    predict: Predict,
    noise: NoiseSource,
    schedule: NoiseSchedule,
    num_steps: int,
    prediction: str = "v",
    before_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Integrate from pure noise to clean latents (B, C, *spatial) by the solver of that name in `SOLVERS`.

    `predict` is called `num_steps` times, once a timestep; `prediction` names, in `PREDICTIONS`, what it gives.
    What `before_step` raises, before any of them, ends the work.
    """
    chosen, clean = SOLVERS[solver], PREDICTIONS[prediction].clean
    timesteps = sampling_timesteps(schedule.num_timesteps, num_steps)
    levels = [_level(schedule, timestep) for timestep in timesteps] + [CLEAN]
    latents = noise(0)
    estimates: list[Tensor] = []
    for i, timestep in enumerate(timesteps):
        before_step()
        alpha, sigma = torch.tensor(levels[i].alpha), torch.tensor(levels[i].sigma)
        x0 = clean(latents, predict(latents, timestep), alpha, sigma)
        estimates = [*estimates, x0][-chosen.num_estimates :]
        fresh = noise(i + 1) if chosen.stochastic else None
        latents = chosen.step(latents, estimates, levels[i + 1 - len(estimates) : i + 2], fresh)
    return latents


def _level(schedule: NoiseSchedule, timestep: int) -> Level:
    alpha, sigma = schedule.alpha[timestep], schedule.sigma[timestep]
    return Level(float(alpha), float(sigma), float((alpha / sigma).log()))
