"""The Inception network of FID, without its weights.

It is the graph `inception-2015-12-05` that Heusel et al. (2017) took features from: Inception-v3 (Szegedy et al.,
CVPR 2016, arXiv 1512.00567) with batch normalisation of eps 0.001, averages that leave the padding out, a maximum in
the pool of its last block, and 1,008 classes. Its layers bear the names that the published PyTorch copy gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

SIDE = 299
"""Pixels a side that the network sees."""
NUM_CLASSES = 1008


class Conv(NamedTuple):
    """A convolution of a block: its name, its channels, its kernel in rows and columns."""

    name: str
    channels: int
    kernel: tuple[int, int]
    stride: int = 1


class Pool(NamedTuple):
    """A pool of 3 x 3 positions within a block."""

    maximum: bool
    stride: int = 1


class Fork(NamedTuple):
    """The end of a branch: both convolutions of what came before, one above the other."""

    left: Conv
    right: Conv


Branch = Sequence[Conv | Pool | Fork]

ONE, THREE, FIVE, ROW_3, COLUMN_3, ROW_7, COLUMN_7 = (1, 1), (3, 3), (5, 5), (1, 3), (3, 1), (1, 7), (7, 1)
AVERAGE, MAXIMUM = Pool(maximum=False), Pool(maximum=True)
MAXIMUM_BY_2 = Pool(maximum=True, stride=2)


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, channels_in: int, channels: int, kernel: tuple[int, int], stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else 0
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches side by side, whose channels are put one above the other. What shrinks (stride 2) has no padding."""

    def __init__(self, channels_in: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self._branches = branches
        for branch in branches:
            channels = channels_in
            for step in branch:
                for conv in _convs(step):
                    unit = ConvUnit(channels, conv.channels, conv.kernel, conv.stride, padded=conv.stride == 1)
                    self.add_module(conv.name, unit)
                channels = sum(conv.channels for conv in _convs(step)) or channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self._branches], dim=1)

    def _run(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, Pool):
                x = _pool(step, x)
            else:
                x = torch.cat([self.get_submodule(conv.name)(x) for conv in _convs(step)], dim=1)
        return x


def _convs(step: Conv | Pool | Fork) -> tuple[Conv, ...]:
    if isinstance(step, Pool):
        return ()
    return (step,) if isinstance(step, Conv) else tuple(step)


def _pool(pool: Pool, x: Tensor) -> Tensor:
    padding = 1 if pool.stride == 1 else 0
    if pool.maximum:
        return functional.max_pool2d(x, 3, pool.stride, padding)
    return functional.avg_pool2d(x, 3, pool.stride, padding, count_include_pad=False)


def _at_35(channels: int, pooled: int) -> Mixed:
    double = (Conv("branch3x3dbl_1", 64, ONE), Conv("branch3x3dbl_2", 96, THREE), Conv("branch3x3dbl_3", 96, THREE))
    return Mixed(
        channels,
        [
            [Conv("branch1x1", 64, ONE)],
            [Conv("branch5x5_1", 48, ONE), Conv("branch5x5_2", 64, FIVE)],
            double,
            [AVERAGE, Conv("branch_pool", pooled, ONE)],
        ],
    )


def _from_35_to_17(channels: int) -> Mixed:
    double = (Conv("branch3x3dbl_1", 64, ONE), Conv("branch3x3dbl_2", 96, THREE), Conv("branch3x3dbl_3", 96, THREE, 2))
    return Mixed(channels, [[Conv("branch3x3", 384, THREE, 2)], double, [MAXIMUM_BY_2]])


def _at_17(inner: int) -> Mixed:
    double = (
        Conv("branch7x7dbl_1", inner, ONE),
        Conv("branch7x7dbl_2", inner, COLUMN_7),
        Conv("branch7x7dbl_3", inner, ROW_7),
        Conv("branch7x7dbl_4", inner, COLUMN_7),
        Conv("branch7x7dbl_5", 192, ROW_7),
    )
    return Mixed(
        768,
        [
            [Conv("branch1x1", 192, ONE)],
            [Conv("branch7x7_1", inner, ONE), Conv("branch7x7_2", inner, ROW_7), Conv("branch7x7_3", 192, COLUMN_7)],
            double,
            [AVERAGE, Conv("branch_pool", 192, ONE)],
        ],
    )


def _from_17_to_8(channels: int) -> Mixed:
    seven = (
        Conv("branch7x7x3_1", 192, ONE),
        Conv("branch7x7x3_2", 192, ROW_7),
        Conv("branch7x7x3_3", 192, COLUMN_7),
        Conv("branch7x7x3_4", 192, THREE, 2),
    )
    return Mixed(channels, [[Conv("branch3x3_1", 192, ONE), Conv("branch3x3_2", 320, THREE, 2)], seven, [MAXIMUM_BY_2]])


def _at_8(channels: int, pool: Pool) -> Mixed:
    fork = Fork(Conv("branch3x3_2a", 384, ROW_3), Conv("branch3x3_2b", 384, COLUMN_3))
    double_fork = Fork(Conv("branch3x3dbl_3a", 384, ROW_3), Conv("branch3x3dbl_3b", 384, COLUMN_3))
    return Mixed(
        channels,
        [
            [Conv("branch1x1", 320, ONE)],
            [Conv("branch3x3_1", 384, ONE), fork],
            [Conv("branch3x3dbl_1", 448, ONE), Conv("branch3x3dbl_2", 384, THREE), double_fork],
            [pool, Conv("branch_pool", 192, ONE)],
        ],
    )


class InceptionV3(nn.Module):
    """Levels (B, 3, H, W) from 0 to 255, of any size -> what the last average pool gives (`pool_3`), (B, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, THREE, stride=2, padded=False)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, THREE, padded=False)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, THREE)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, ONE)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, THREE, padded=False)
        self.Mixed_5b = _at_35(192, pooled=32)
        self.Mixed_5c = _at_35(256, pooled=64)
        self.Mixed_5d = _at_35(288, pooled=64)
        self.Mixed_6a = _from_35_to_17(288)
        self.Mixed_6b = _at_17(inner=128)
        self.Mixed_6c = _at_17(inner=160)
        self.Mixed_6d = _at_17(inner=160)
        self.Mixed_6e = _at_17(inner=192)
        self.Mixed_7a = _from_17_to_8(768)
        self.Mixed_7b = _at_8(1280, AVERAGE)
        self.Mixed_7c = _at_8(2048, MAXIMUM)
        # The published weights have a head; features are taken before it.
        self.fc = nn.Linear(2048, NUM_CLASSES)

    def forward(self, levels: Tensor) -> Tensor:
        x = (resize_like_tensorflow1(levels, SIDE) - 128.0) / 128.0
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_pool(MAXIMUM_BY_2, x)))
        x = _pool(MAXIMUM_BY_2, x)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


def resize_like_tensorflow1(images: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) -> (B, C, side, side) as `tf.image.resize_bilinear` of TensorFlow 1 did it.

    Pixel i of the result stands at i * H / side of the image: corners, not centres, are laid upon one another, and
    nothing is smoothed. torch's own bilinear resize lies up to half a pixel beside it.
    """
    for axis in (3, 2):
        size = images.shape[axis]
        position = torch.arange(side, device=images.device) * torch.tensor(size / side, dtype=torch.float32)
        before = position.long()
        after = (before + 1).clamp_max(size - 1)
        weight = (position - before).view(-1, *[1] * (3 - axis))
        low, high = images.index_select(axis, before), images.index_select(axis, after)
        images = low + (high - low) * weight
    return images
