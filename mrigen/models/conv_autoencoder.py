"""An autoencoder without norms, whose arithmetic is nearly all in plain 3x3 convolutions.

The finest level works on patches of 2 x 2 pixels instead of on pixels, and each change of resolution has a shortcut of
rearranged pixels (Chen et al. 2025, Deep Compression Autoencoder, section 3.2). Residual blocks begin as the identity,
so that none needs a norm (Zhang et al. 2019, Fixup).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

PATCH = 2
"""Pixels a side of what the finest level sees as one position."""
TEXTURE_CHANNELS = 64
FIRST_LOGVAR = -6.0


class ConvAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encoder and decoder by the names of diffusers' AutoencoderKL, so that the same code calls, saves and loads both.

    `encoder` leads from images (B, 1, S, S) to mean and log-variance of the latents (B, 2 C, S / f, S / f), `decoder`
    from latents (B, C, S / f, S / f) to images, `texture` from latents to the log-variance (B, 1, S, S) of their noise
    (`mrigen.models.texture`); f is 2 ** len(block_channels).
    """

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int,
        block_channels: Sequence[int],
        layers_per_block: int,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
    ) -> None:
        """`block_channels` are those of each level, the finest first: each once, twice or four times the one before."""
        super().__init__()
        first, last = block_channels[0], block_channels[-1]
        encoder: list[nn.Module] = [nn.PixelUnshuffle(PATCH), nn.Conv2d(PATCH**2, first, 3, padding=1)]
        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, last, 3, padding=1)]
        for level, channels in enumerate(block_channels):
            if level:
                encoder.append(Downsample(block_channels[level - 1], channels))
            encoder += [ResidualBlock(channels) for _ in range(layers_per_block)]
        for level in reversed(range(len(block_channels))):
            # One block more than the encoder, as in AutoencoderKL: restoring is the harder half.
            decoder += [ResidualBlock(block_channels[level]) for _ in range(layers_per_block + 1)]
            if level:
                decoder.append(Upsample(block_channels[level], block_channels[level - 1]))
        encoder += [nn.ReLU(), _first_logvar(nn.Conv2d(last, 2 * latent_channels, 3, padding=1), latent_channels)]
        decoder += [nn.ReLU(), nn.Conv2d(first, PATCH**2, 3, padding=1), nn.PixelShuffle(PATCH)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.quant_conv = self.post_quant_conv = nn.Identity()
        self.texture = nn.Sequential(
            nn.Conv2d(latent_channels, TEXTURE_CHANNELS, 3, padding=1),
            nn.ReLU(),
            _first_logvar(nn.Conv2d(TEXTURE_CHANNELS, 1, 3, padding=1), 0),
            nn.Upsample(scale_factor=2 ** len(block_channels), mode="bilinear"),
        )


@torch.no_grad()
def _first_logvar(conv: nn.Conv2d, first: int) -> nn.Conv2d:
    """Let the channels from `first` on begin as the log-variance of little noise: what it lies on is learned sooner."""
    conv.bias[first:] = FIRST_LOGVAR  # type: ignore[index]
    return conv


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), (B, C, H, W) -> the same shape; at first the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        residual: Tensor = self.second(functional.relu(self.first(functional.relu(x))))
        return x + residual


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, D, H / 2, W / 2): a convolution, and four neighbours of each pixel averaged over channels."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
        self.share = 4 * channels // out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H / 2, W / 2)."""
        pixels = functional.pixel_unshuffle(x, 2)
        shortcut = pixels.view(len(x), -1, self.share, *pixels.shape[2:]).mean(dim=2)
        convolved: Tensor = self.conv(x)
        return convolved + shortcut


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, D, 2 H, 2 W): a convolution and the channels repeated, both laid out as pixels."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out_channels, 3, padding=1)
        self.repeats = 4 * out_channels // channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, 2 H, 2 W)."""
        convolved: Tensor = self.conv(x)
        return functional.pixel_shuffle(convolved + x.repeat_interleave(self.repeats, dim=1), 2)
