"""Scanner noise: white, drawn anew for each image, as strong as the latents tell.

No latent of a few channels holds the noise of each pixel, so a decoder gives the mean of the images that a latent
stands for. That has no noise, and this alone tells it from real images: so an image is the mean and noise on it. By the
residual's likelihood the noise would be learned too strong, since most of the residual are edges that the decoder has
not learned (docs/decisions/0012-noise-is-drawn.md). It is learned from how much fine detail the mean lacks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

BACKGROUND = -0.999
"""Pixels above it are foreground."""
WINDOW = 9
"""Pixels a side over which detail is averaged."""
_GATE = 0.05
"""A decoder's pixels that are darker than this above -1 are meant to be background."""
_FLOOR = 1e-5


def texture(logvar: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
    """Standard normal noise (B, 1, H, W) of the local variance exp(`logvar`), (B, 1, H, W); none in the background."""
    return torch.exp(0.5 * logvar) * _gate(mean) * noise


def texture_loss(logvar: Tensor, mean: Tensor, images: Tensor) -> Tensor:
    """How far mean and noise together are from the images in the energy of fine detail, a scalar: the mean absolute
    difference of its logarithms, over windows, 0 in those of background."""
    variance = _windows(torch.exp(logvar) * _gate(mean).square())
    error = torch.log(_detail(mean) + variance + _FLOOR) - torch.log(_detail(images) + _FLOOR)
    inside = (_windows((images > BACKGROUND).to(images)) > 0.9).to(images)
    return (error.abs() * inside).mean()


def cleared(images: Tensor) -> Tensor:
    """Images whose background is as black as that of masked ones: none of its pixels is nearly so."""
    return torch.where(images < _GATE - 1.0, -1.0, images)


def _detail(images: Tensor) -> Tensor:
    """Energy of the second differences along both axes in turn, of which white noise of variance 1 has 1."""
    line = torch.tensor([1.0, -2.0, 1.0]).to(images)
    return _windows(functional.conv2d(images, torch.outer(line, line)[None, None] / 6, padding=1).square())


def _windows(values: Tensor) -> Tensor:
    return functional.avg_pool2d(values, WINDOW, WINDOW // 2, WINDOW // 2)


def _gate(mean: Tensor) -> Tensor:
    """0 in the background, 1 a little above its value."""
    return ((mean + 1.0) / _GATE).clamp(0.0, 1.0)
