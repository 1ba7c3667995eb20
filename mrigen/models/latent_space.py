"""The scale of the latents: what makes the autoencoder's output fit for the denoiser, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of every latent channel over the whole training set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def standardised(self, latents: Tensor) -> Tensor:
        """Latents (B, C, *spatial) as the denoiser sees them: mean 0 and standard deviation 1 a channel."""
        return (latents - _channels(self.mean, latents)) / _channels(self.std, latents)

    def restored(self, standardised: Tensor) -> Tensor:
        """The inverse of `standardised`."""
        return standardised * _channels(self.std, standardised) + _channels(self.mean, standardised)


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like).view((1, -1) + (1,) * (like.dim() - 2))
