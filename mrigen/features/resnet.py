"""The two ResNet-50 that bear the name RadImageNet, without their weights.

Mei et al. (Radiology: AI 4:e210315, 2022) published weights for Keras and, trained anew, weights for PyTorch. The first
are in use in a conversion to PyTorch (torch.hub, Warvito/radimagenet-models), by which MONAI's tutorials compute FID.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as functional
from torch import Tensor, nn

STAGES = {"layer1": (64, 3, 1), "layer2": (128, 4, 2), "layer3": (256, 6, 2), "layer4": (512, 3, 2)}
"""Inner channels, blocks and stride of the four stages of ResNet-50 (He et al., CVPR 2016, arXiv 1512.03385)."""
EXPANSION = 4


@dataclass(frozen=True)
class Style:
    """In what the ResNet-50 of two libraries differ."""

    eps: float
    """Of batch normalisation."""
    bias: bool
    """Whether convolutions have a bias."""
    shrink_first: bool
    """Whether a block shrinks in its first convolution (1 x 1), as He et al. did, or in its second (3 x 3)."""


TORCHVISION = Style(eps=1e-5, bias=False, shrink_first=False)
KERAS = Style(eps=1.001e-5, bias=True, shrink_first=True)


class Bottleneck(nn.Module):
    """Convolutions of 1, 3 and 1 positions, added to the way past them."""

    def __init__(self, channels_in: int, inner: int, stride: int, style: Style) -> None:
        super().__init__()
        channels = inner * EXPANSION
        first, second = (stride, 1) if style.shrink_first else (1, stride)
        self.conv1 = nn.Conv2d(channels_in, inner, 1, first, bias=style.bias)
        self.bn1 = nn.BatchNorm2d(inner, style.eps)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, padding=1, bias=style.bias)
        self.bn2 = nn.BatchNorm2d(inner, style.eps)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=style.bias)
        self.bn3 = nn.BatchNorm2d(channels, style.eps)
        self.downsample = nn.Sequential()
        if channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=style.bias)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels, style.eps))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        return functional.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


class ResNet50(nn.Module):
    """Images (B, 3, H, W) -> the global average of the last stage, (B, 2048). Its layers are named as torchvision's."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=style.bias)
        self.bn1 = nn.BatchNorm2d(64, style.eps)
        channels = 64
        for name, (inner, num_blocks, stride) in STAGES.items():
            blocks = [Bottleneck(channels, inner, stride, style)]
            channels = inner * EXPANSION
            blocks += [Bottleneck(channels, inner, 1, style) for _ in range(num_blocks - 1)]
            self.add_module(name, nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for name in STAGES:
            x = self.get_submodule(name)(x)
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)
