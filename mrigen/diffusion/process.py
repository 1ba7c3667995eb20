"""The forward process: noise levels, noisy latents, what the network predicts, and its weight, as pure functions.

At a noise level (alpha, sigma) a noisy latent is alpha * x0 + sigma * noise (Ho et al. 2020, eq. 4). Two schedules
preserve the variance, alpha^2 + sigma^2 = 1; the third is the straight path of flow matching, alpha + sigma = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mrigen.config import DiffusionConfig

_MAX_BETA = 0.999


@dataclass(frozen=True)
class NoiseSchedule:
    """`alpha` and `sigma` of every training timestep, float64 tensors (num_train_timesteps,)."""

    alpha: Tensor
    sigma: Tensor

    @classmethod
    def build(cls, config: DiffusionConfig) -> NoiseSchedule:
        """The schedule that the configuration names."""
        if config.schedule == "linear":  # Lipman et al. 2023; Liu et al. 2023: from the first step above 0 up to 1
            sigma = torch.arange(1, config.num_train_timesteps + 1, dtype=torch.float64) / config.num_train_timesteps
            return cls(1.0 - sigma, sigma)
        betas = _cosine_betas if config.schedule == "cosine" else _scaled_linear_betas
        alpha_bar = torch.cumprod(1.0 - betas(config.num_train_timesteps), dim=0)
        return cls(alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt())

    @property
    def num_timesteps(self) -> int:
        """Number of training timesteps."""
        return len(self.alpha)

    def to(self, device: torch.device) -> NoiseSchedule:
        """The same schedule on `device`, where looking levels up waits for nothing."""
        return NoiseSchedule(self.alpha.to(device), self.sigma.to(device))

    def at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at integer `timesteps` (B,), shaped and typed to multiply `like` (B, ...)."""
        shape = (-1,) + (1,) * (like.dim() - 1)
        index = timesteps.to(self.alpha.device)
        return self.alpha[index].to(like).view(shape), self.sigma[index].to(like).view(shape)


def _cosine_betas(num_timesteps: int) -> Tensor:
    """Nichol and Dhariwal 2021, eq. 17, with its offset of 0.008."""
    steps = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    alpha_bar = torch.cos((steps + 0.008) / 1.008 * math.pi / 2).square()
    return (1.0 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=_MAX_BETA)


def _scaled_linear_betas(num_timesteps: int) -> Tensor:
    """Linear in the square root, from 0.00085 to 0.012 at 1000 steps (Rombach et al. 2022)."""
    return torch.linspace(0.00085**0.5, 0.012**0.5, num_timesteps, dtype=torch.float64).square()


def add_noise(x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A latent at noise level (alpha, sigma) (Ho et al. 2020, eq. 4)."""
    return alpha * x0 + sigma * noise


@dataclass(frozen=True)
class Prediction:
    """What a network may be asked for: its training target, and the clean latent that its answer implies.

    Both take tensors (B, C, *spatial) and alpha and sigma that multiply them. `slope` is how far the clean latent moves
    with the answer, by which an error of the one becomes an error of the other.
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """`target(x0, noise, alpha, sigma)`"""
    clean: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """`clean(noisy, predicted, alpha, sigma)`"""
    slope: Callable[[Tensor, Tensor], Tensor]
    """`slope(alpha, sigma)`"""


PREDICTIONS = {
    # Salimans and Ho 2022, section 4 and appendix D
    "v": Prediction(
        target=lambda x0, noise, alpha, sigma: alpha * noise - sigma * x0,
        clean=lambda noisy, v, alpha, sigma: alpha * noisy - sigma * v,
        slope=lambda alpha, sigma: sigma,
    ),
    # Ho et al. 2020, eq. 14 and 15
    "epsilon": Prediction(
        target=lambda x0, noise, alpha, sigma: noise,
        clean=lambda noisy, epsilon, alpha, sigma: (noisy - sigma * epsilon) / alpha,
        slope=lambda alpha, sigma: sigma / alpha,
    ),
    # Lipman et al. 2023, eq. 23 with sigma_min = 0: the velocity along the straight path
    "flow": Prediction(
        target=lambda x0, noise, alpha, sigma: noise - x0,
        clean=lambda noisy, flow, alpha, sigma: noisy - sigma * flow,
        slope=lambda alpha, sigma: sigma,
    ),
}
"""By the name in `DiffusionConfig.prediction`."""


def loss_weight(alpha: Tensor, sigma: Tensor, config: DiffusionConfig) -> Tensor:
    """Weight of the squared error of the prediction; 1 without `min_snr_gamma`.

    With it, the weight of the clean latent's squared error is min(SNR, gamma) (Hang et al. 2023, eq. 7).
    """
    if config.min_snr_gamma is None:
        return torch.ones_like(alpha)
    snr = (alpha / sigma).square()
    return snr.clamp(max=config.min_snr_gamma) * PREDICTIONS[config.prediction].slope(alpha, sigma).square()


def training_timesteps(fraction: Tensor, config: DiffusionConfig) -> Tensor:
    """Timesteps (B,), int64, of numbers in [0, 1): evenly spread, or logit-normal (Esser et al. 2024, section 3.1)."""
    if config.timesteps == "logit_normal":
        fraction = torch.special.ndtri(fraction.double()).sigmoid()
    return (fraction * config.num_train_timesteps).long().clamp(0, config.num_train_timesteps - 1)
