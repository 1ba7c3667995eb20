"""The denoiser: a U-Net that sees the conditions by cross-attention and predicts v, noise or flow."""

from __future__ import annotations

import copy

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from mrigen.config import Config, DenoiserConfig
from mrigen.models.codec import require_slices
from mrigen.models.conditioning import CONDITIONS, Conditioner, Conditions, Vocabulary
from mrigen.models.conv_unet import ConvUNet

UNETS = {"unet": UNet2DConditionModel, "conv": ConvUNet}
"""By the name in `DenoiserConfig.network`."""


class Denoiser(nn.Module):
    """One of `UNETS` and our conditioner: noisy latents (B, C, *spatial) -> what is predicted."""

    def __init__(self, unet: UNet2DConditionModel | ConvUNet, conditioner: Conditioner) -> None:
        super().__init__()
        self.unet = unet.to(memory_format=torch.channels_last)  # faster on CPUs
        self.conditioner = conditioner

    @classmethod
    def build(cls, config: Config, vocabulary: Vocabulary = CONDITIONS) -> Denoiser:
        """A freshly initialised denoiser of the configured size. Raises InputError unless images are 2-D."""
        require_slices(config.data)
        settings = config.denoiser
        build = _conv_unet if settings.network == "conv" else _diffusers_unet
        return cls(build(settings, config.latent_shape), Conditioner(settings.condition_channels, vocabulary))

    def in_bfloat16(self) -> Denoiser:
        """A copy whose U-Net computes in bfloat16, weights and all; the conditioner stays as it is."""
        low = copy.deepcopy(self)
        low.unet.bfloat16()
        low.lay_out_for_bfloat16()
        return low

    def lay_out_for_bfloat16(self) -> None:
        """Leave channels-last where PyTorch's group norm takes twelve times as long by it: on CPUs, in bfloat16."""
        if self.unet.device.type == "cpu" and isinstance(self.unet, UNet2DConditionModel):
            self.unet.to(memory_format=torch.contiguous_format)

    def forward(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Noisy latents at integer `timesteps` (B,) -> what the network was trained to predict."""
        tokens, dtype = self.conditioner(conditions), self.unet.dtype
        predicted: Tensor = self.unet(latents.to(dtype), timesteps, encoder_hidden_states=tokens.to(dtype)).sample
        return predicted


def _conv_unet(settings: DenoiserConfig, latent_shape: tuple[int, ...]) -> ConvUNet:
    unet: ConvUNet = ConvUNet(
        latent_channels=latent_shape[0],
        block_channels=settings.block_channels,
        attention_levels=settings.attention_levels,
        layers_per_block=settings.layers_per_block,
        head_channels=settings.head_channels,
        condition_channels=settings.condition_channels,
    )
    return unet


def _diffusers_unet(settings: DenoiserConfig, latent_shape: tuple[int, ...]) -> UNet2DConditionModel:
    attends = settings.attention_levels
    return UNet2DConditionModel(
        sample_size=latent_shape[-1],
        in_channels=latent_shape[0],
        out_channels=latent_shape[0],
        block_out_channels=settings.block_channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attends),
        up_block_types=tuple("CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attends)),
        layers_per_block=settings.layers_per_block,
        # diffusers' name is a historical slip: for this class the argument counts heads.
        attention_head_dim=tuple(channels // settings.head_channels for channels in settings.block_channels),
        norm_num_groups=settings.norm_groups,
        cross_attention_dim=settings.condition_channels,
    )
