"""A U-Net without norms, whose arithmetic is nearly all in plain 3x3 convolutions.

Residual blocks begin as the identity, so that none needs a norm (Zhang et al. 2019, Fixup); noise level and conditions
scale and shift what is inside them (Perez et al. 2018, FiLM), and stand as further keys beside the positions that
attention looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as functional
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from mrigen.models.conv_autoencoder import Downsample, Upsample

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class ConvUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Called, saved and loaded as diffusers' UNet2DConditionModel is."""

    config_name = "config.json"
    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int,
        block_channels: Sequence[int],
        attention_levels: Sequence[bool],
        layers_per_block: int,
        head_channels: int,
        condition_channels: int,
    ) -> None:
        """`block_channels` are those of each level, the finest first; `attention_levels` says which attend."""
        super().__init__()
        first, width = block_channels[0], 4 * block_channels[0]
        self.gradient_checkpointing = False
        self.waves = Timesteps(first, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(first, width)
        self.condition_embedding = nn.Linear(condition_channels, width)
        self.conv_in = nn.Conv2d(latent_channels, first, 3, padding=1)

        def stage(channels: int, level: int) -> Stage:
            heads = block_channels[level] // head_channels if attention_levels[level] else 0
            return Stage(channels, block_channels[level], width, heads, condition_channels)

        self.down_blocks, channels, kept = nn.ModuleList(), first, [first]
        for level, wanted in enumerate(block_channels):
            for _ in range(layers_per_block):
                self.down_blocks.append(stage(channels, level))
                channels = wanted
                kept.append(channels)
            if level < len(block_channels) - 1:
                self.down_blocks.append(Downsample(channels, channels))
                kept.append(channels)
        heads = channels // head_channels
        self.mid_block = nn.ModuleList(
            [Stage(channels, channels, width, heads, condition_channels), Stage(channels, channels, width)]
        )
        self.up_blocks = nn.ModuleList()
        for level in reversed(range(len(block_channels))):
            for _ in range(layers_per_block + 1):
                self.up_blocks.append(stage(channels + kept.pop(), level))
                channels = block_channels[level]
            if level:
                self.up_blocks.append(Upsample(channels, channels))
        self.conv_out = _zeroed(nn.Conv2d(channels, latent_channels, 3, padding=1))

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> UNet2DConditionOutput:
        """Noisy latents (B, C, H, W), timesteps (B,) and conditions' tokens (B, T, condition_channels)."""
        tokens = encoder_hidden_states
        time = self.time_embedding(self.waves(timestep).to(sample.dtype))
        embedding = functional.silu(time + self.condition_embedding(tokens.mean(dim=1)))

        def through(block: nn.Module, x: Tensor) -> Tensor:
            if not isinstance(block, Stage):
                y: Tensor = block(x)
            elif self.gradient_checkpointing and torch.is_grad_enabled():
                y = self._gradient_checkpointing_func(block, x, embedding, tokens)
            else:
                y = block(x, embedding, tokens)
            return y

        x = self.conv_in(sample)
        kept = [x]
        for block in self.down_blocks:
            x = through(block, x)
            kept.append(x)
        for block in self.mid_block:
            x = through(block, x)
        for block in self.up_blocks:
            x = through(block, torch.cat([x, kept.pop()], dim=1) if isinstance(block, Stage) else x)
        return UNet2DConditionOutput(sample=self.conv_out(x))


class Stage(nn.Module):
    """A residual block and, of `num_heads`, attention: (B, C, H, W) -> (B, D, H, W)."""

    def __init__(
        self, channels: int, out_channels: int, width: int, num_heads: int = 0, condition_channels: int = 0
    ) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.first = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.modulation = _zeroed(nn.Linear(width, 2 * out_channels))
        self.second = _zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.attention = JointAttention(out_channels, condition_channels, num_heads) if num_heads else None

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        """`embedding` (B, width) of noise level and conditions modulates, `tokens` (B, T, C) are attended to."""
        scale, shift = self.modulation(embedding)[..., None, None].chunk(2, dim=1)
        inner = self.first(functional.silu(x)) * (1 + scale) + shift
        x = self.shortcut(x) + self.second(functional.silu(inner))
        return x if self.attention is None else self.attention(x, tokens)


class JointAttention(nn.Module):
    """x + what its positions find among each other and the tokens; at first the identity.

    Queries and keys are of one length (Henry et al. 2020), so that no score grows without bound.
    """

    def __init__(self, channels: int, condition_channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.of_positions = nn.Linear(channels, 3 * channels)
        self.of_tokens = nn.Linear(condition_channels, 2 * channels)
        self.out = _zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """(B, C, H, W) and (B, T, condition_channels) -> (B, C, H, W)."""
        positions = functional.rms_norm(x.flatten(2).transpose(1, 2), x.shape[1:2])
        query, *seen = self.of_positions(positions).chunk(3, dim=-1)
        told = self.of_tokens(tokens).chunk(2, dim=-1)
        key, value = (self._heads(torch.cat(both, dim=1)) for both in zip(seen, told, strict=True))
        query = self._heads(query)
        length = query.shape[-1:]
        found = attend(functional.rms_norm(query, length), functional.rms_norm(key, length), value)
        residual: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return x + residual.transpose(1, 2).reshape(x.shape)

    def _heads(self, values: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return values.reshape(*values.shape[:2], self.num_heads, -1).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Values (B, heads, M, C) averaged by softmax(query key / sqrt(C)), of queries (B, heads, N, C) and M keys."""
    if query.device.type == "cpu":  # where PyTorch's own takes thrice as long on the way back
        scores: Tensor = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return scores.softmax(-1) @ value
    return functional.scaled_dot_product_attention(query, key, value)


def _zeroed(layer: Layer) -> Layer:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
