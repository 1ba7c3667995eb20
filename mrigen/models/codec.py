"""Between images (B, 1, *spatial) in [-1, 1] and what the denoiser works on: latents, or the images themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrigen.config import DataConfig
from mrigen.errors import InputError

LOGVAR_RANGE = (-30.0, 20.0)


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents; `mean` and `logvar` are (B, C, *spatial)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """The reparameterised draw mean + std * noise (Kingma and Welling 2014)."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Divergence from a standard normal, in nats a latent element, averaged over all (a scalar)."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar).mean()


class Codec(nn.Module, ABC):
    """What `Config.codec` names; the shape of its latents is `Config.latent_shape`."""

    @abstractmethod
    def encode(self, images: Tensor) -> Posterior:
        """Images -> posterior."""

    @abstractmethod
    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents -> images, not clipped to [-1, 1]; the mean ones, or drawn by standard normal `noise` of their shape.

        The noise is idle where a codec knows no spread.
        """

    @abstractmethod
    def digest(self) -> str:
        """A name for all that its latents depend on, as hex or a word."""


class PixelCodec(Codec):
    """The identity: the denoiser works on the images."""

    def encode(self, images: Tensor) -> Posterior:
        """The images, each a point."""
        return Posterior(images, torch.full_like(images, LOGVAR_RANGE[0]))

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latents."""
        return latents

    def digest(self) -> str:
        """There is only one."""
        return "pixels"


def require_slices(data: DataConfig) -> None:
    """Raise InputError unless images are 2-D: the networks are built of 2-D layers so far."""
    if data.spatial_dims != 2:
        raise InputError(f"data.spatial_dims is {data.spatial_dims}: the networks take 2-D slices so far")
