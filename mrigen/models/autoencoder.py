"""The variational autoencoder: images (B, 1, *spatial) in [-1, 1] to latents (B, C, *spatial / f) and back."""

from __future__ import annotations

import hashlib
from typing import cast

from diffusers import AutoencoderKL
from torch import Tensor

from mrigen.config import Config
from mrigen.models.codec import LOGVAR_RANGE, Codec, Posterior, require_slices


class Autoencoder(Codec):
    """diffusers' AutoencoderKL, seen through images, posteriors and latents only."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    @classmethod
    def build(cls, config: Config) -> Autoencoder:
        """A freshly initialised autoencoder of the configured size. Raises InputError unless images are 2-D."""
        require_slices(config.data)
        settings = config.autoencoder
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

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> images, not clipped to [-1, 1]."""
        return cast(Tensor, self.vae.decoder(self.vae.post_quant_conv(latents)))

    def digest(self) -> str:
        """SHA-256 over the names and values of the weights."""
        digest = hashlib.sha256()
        for name, weights in self.state_dict().items():
            digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Posterior]:
        """Images and standard normal noise of the latents' shape -> reconstruction and posterior."""
        posterior = self.encode(images)
        return self.decode(posterior.sample(noise)), posterior
