"""The forward process: noise levels, noisy latents, the target v and its weight, as pure functions.

A noise level is a pair (alpha, sigma) with alpha^2 + sigma^2 = 1 (variance preserving), and a noisy
latent is alpha * x0 + sigma * noise (Ho et al. 2020, eq. 4).
"""

from __future__ import annotations

import math
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


def velocity(x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The training target v = alpha * noise - sigma * x0 (Salimans and Ho 2022, section 4)."""
    return alpha * noise - sigma * x0


def denoised(noisy: Tensor, v: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean latent that a noisy one and its v imply: alpha * noisy - sigma * v (ibid., appendix D)."""
    return alpha * noisy - sigma * v


def min_snr_weight(alpha: Tensor, sigma: Tensor, gamma: float | None) -> Tensor:
    """Weight of the squared error of v: min(SNR, gamma) / (SNR + 1) (Hang et al. 2023, eq. 7); 1 without gamma."""
    if gamma is None:
        return torch.ones_like(alpha)
    snr = (alpha / sigma).square()
    return snr.clamp(max=gamma) / (snr + 1.0)
