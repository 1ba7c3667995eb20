"""Solvers of the probability-flow ODE, guidance, and the seeds that make a sample reproducible.

A solver is a pure step from one noise level to the next; diffusers' schedulers are the oracles in the tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mrigen.diffusion import NoiseSchedule, denoised
from mrigen.labels import Cell

Solver = Literal["ddim", "dpmpp-2m"]
SOLVERS: tuple[Solver, ...] = ("ddim", "dpmpp-2m")
PredictV = Callable[[Tensor, int], Tensor]
"""Noisy latents (B, C, *spatial) and their timestep -> v."""


def sample_seed(seed: int, cell: Cell, index: int) -> int:
    """Seed of the `index`-th sample of a cell: 64 bits of a hash, so that no neighbour or shard can move it."""
    digest = hashlib.sha256(f"mrigen-sample/{seed}/{cell}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def seed_fraction(seed: int) -> float:
    """A uniform number in [0, 1) that belongs to a sample's seed but is independent of its noise."""
    digest = hashlib.sha256(f"mrigen-fraction/{seed}".encode()).digest()
    return int.from_bytes(digest[:6], "little") / 2**48


def initial_noise(seeds: Iterable[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (B, *shape), each row from a CPU generator of its own 64-bit seed.

    Philox, not torch's Mersenne Twister: that keeps 32 bits of a seed, and among 10^7 samples thousands
    would share their noise.
    """
    rows = [np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape, np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def sampling_timesteps(num_train_timesteps: int, num_steps: int) -> list[int]:
    """`num_steps` descending timesteps from the last ("trailing" spacing: Lin et al. 2024, table 2).

    Raises ValueError unless 1 <= num_steps <= num_train_timesteps.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"num_steps {num_steps} must lie between 1 and {num_train_timesteps}")
    return [round(num_train_timesteps * (1 - i / num_steps)) - 1 for i in range(num_steps)]


def guided(predict: Tensor, predict_null: Tensor, guidance_scale: Tensor) -> Tensor:
    """Classifier-free guidance: null + scale * (conditional - null) (Ho and Salimans 2021); scale is (B,)."""
    scale = guidance_scale.view((-1,) + (1,) * (predict.dim() - 1))
    return predict_null + scale * (predict - predict_null)


def ddim_step(noisy: Tensor, x0: Tensor, alpha: float, sigma: float, next_alpha: float, next_sigma: float) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eq. 12 with its noise term zero)."""
    noise = (noisy - alpha * x0) / sigma
    return next_alpha * x0 + next_sigma * noise


def dpmpp_2m_estimate(x0: Tensor, last_x0: Tensor, log_snr_step: float, last_log_snr_step: float) -> Tensor:
    """The extrapolated clean latent of DPM-Solver++(2M) (Lu et al. 2022, algorithm 2).

    Steps are differences of lambda = log(alpha / sigma). A step from this estimate is a DDIM step.
    """
    ratio = last_log_snr_step / log_snr_step
    return (1.0 + 0.5 / ratio) * x0 - 0.5 / ratio * last_x0


@torch.no_grad()
def solve(predict_v: PredictV, noise: Tensor, schedule: NoiseSchedule, solver: Solver, num_steps: int) -> Tensor:
    """Integrate from pure `noise` (B, C, *spatial) to clean latents of the same shape.

    The network is called `num_steps` times, once a timestep.
    """
    timesteps = sampling_timesteps(schedule.num_timesteps, num_steps)
    levels = [(float(schedule.alpha[t]), float(schedule.sigma[t])) for t in timesteps] + [(1.0, 0.0)]
    log_snr = [float((schedule.alpha[t] / schedule.sigma[t]).log()) for t in timesteps]
    latents, last_x0 = noise, None
    for i, timestep in enumerate(timesteps):
        (alpha, sigma), (next_alpha, next_sigma) = levels[i], levels[i + 1]
        x0 = denoised(latents, predict_v(latents, timestep), torch.tensor(alpha), torch.tensor(sigma))
        estimate = x0
        # The last step, to sigma = 0, stays first order: lambda is infinite there.
        if solver == "dpmpp-2m" and last_x0 is not None and i + 1 < num_steps:
            estimate = dpmpp_2m_estimate(x0, last_x0, log_snr[i + 1] - log_snr[i], log_snr[i] - log_snr[i - 1])
        latents = ddim_step(latents, estimate, alpha, sigma, next_alpha, next_sigma)
        last_x0 = x0
    return latents
