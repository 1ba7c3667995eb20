"""The variational autoencoder: images (B, 1, *spatial) in [-1, 1] to latents (B, C, *spatial / f) and back."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from mrigen.config import Config
from mrigen.models.codec import LOGVAR_RANGE, Codec, Posterior, require_slices
from mrigen.models.conv_autoencoder import ConvAutoencoder
from mrigen.models.texture import cleared, texture

NETWORKS = {"kl": AutoencoderKL, "conv": ConvAutoencoder}
"""By the name in `AutoencoderConfig.network`."""


class Decoded(NamedTuple):
    """A distribution of images: their mean (B, 1, *spatial) and the log-variance of their noise, where it is known."""

    mean: Tensor
    logvar: Tensor | None

    def textured(self, noise: Tensor | None) -> Tensor:
        """The mean, or with standard normal noise of its shape an image."""
        return self.mean if noise is None or self.logvar is None else self.mean + texture(self.logvar, self.mean, noise)


class Autoencoder(Codec):
    """One of `NETWORKS`, seen through images, posteriors and latents only."""

    def __init__(self, vae: AutoencoderKL | ConvAutoencoder) -> None:
        super().__init__()
        self.vae = vae
        if isinstance(vae, ConvAutoencoder):
            vae.to(memory_format=torch.channels_last)  # a quarter faster on CPUs

    @classmethod
    def build(cls, config: Config) -> Autoencoder:
        """A freshly initialised autoencoder of the configured size. Raises InputError unless images are 2-D."""
        require_slices(config.data)
        settings = config.autoencoder
        if settings.network == "conv":
            sizes = settings.latent_channels, settings.block_channels, settings.layers_per_block
            return cls(ConvAutoencoder(*sizes))
        num_levels = len(settings.block_channels)
        return cls(
            AutoencoderKL(
                in_channels=1,
                out_channels=1,
                latent_channels=settings.latent_channels,
                block_out_channels=settings.block_channels,
                down_block_types=("DownEncoderBlock2D",) * num_levels,
                up_block_types=("UpDecoderBlock2D",) * num_levels,
                layers_per_block=settings.layers_per_block,
                norm_num_groups=settings.norm_groups,
                sample_size=config.data.image_size,
                mid_block_add_attention=False,
            )
        )

    def encode(self, images: Tensor) -> Posterior:
        """Images -> posterior."""
        mean, logvar = self.vae.quant_conv(self.vae.encoder(images)).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(*LOGVAR_RANGE))

    def decode(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents -> images, not clipped to [-1, 1]; the mean ones, or drawn by standard normal `noise` of their shape.

        Their background is black. The noise is idle in the network `kl`.
        """
        return cleared(self.decoded(latents).textured(noise))

    def decoded(self, latents: Tensor) -> Decoded:
        """Latents -> the distribution of images. What learns the noise leaves no gradient in the rest."""
        mean = self.vae.decoder(self.vae.post_quant_conv(latents))
        return Decoded(mean, self.vae.texture(latents.detach()) if isinstance(self.vae, ConvAutoencoder) else None)

    def digest(self) -> str:
        """SHA-256 over the encoder's weights, names and values."""
        digest = hashlib.sha256()
        for part in self._encoding:
            for name, weights in part.state_dict().items():
                digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def freeze_encoder(self) -> None:
        """Let the decoder learn alone."""
        for part in self._encoding:
            part.requires_grad_(False)

    @property
    def _encoding(self) -> tuple[nn.Module, nn.Module]:
        return self.vae.encoder, self.vae.quant_conv

    def forward(self, images: Tensor, noise: Tensor, levels: Tensor) -> tuple[Decoded, Posterior]:
        """Images and standard normal noise of the latents' shape -> reconstruction and posterior.

        The noise is as strong as the posterior is wide, and by `levels` (B, 1, ...) of the latents' spread stronger.
        """
        posterior = self.encode(images)
        spread = (posterior.mean.flatten(1).var(dim=1) + 1e-12).sqrt().view_as(levels)  # a root of 0 has no gradient
        return self.decoded(posterior.sample(noise) + levels * spread * noise), posterior
