"""What tells reconstructions from images, patch by patch, while the autoencoder is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

LEVELS = ((0, 32, 2.0), (2, 24, 7.0), (4, 24, 11.0), (6, 40, 9.0))
"""Of the `lite_features` that it looks at: their place, channels and, about, their standard deviation in MRI."""
HEAD_CHANNELS = 64
_DOUBLINGS = 4


class FeatureDiscriminator(nn.Module):
    """`lite_features` of images -> a score of each patch (B, N), high for real ones.

    Small heads on a frozen network learn sooner than a discriminator of pixels (Sauer et al. 2021).
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                BoundedConv2d(channels, HEAD_CHANNELS, 3, padding=1),
                nn.LeakyReLU(0.2),
                BoundedConv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, padding=1),
                nn.LeakyReLU(0.2),
                BoundedConv2d(HEAD_CHANNELS, 1, 1, bias=False),
            )
            for _, channels, _ in LEVELS
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """`lite_features` of B images -> scores (B, N), N patches of all levels."""
        scores = [
            head(features[level] / deviation).flatten(1)
            for head, (level, _, deviation) in zip(self.heads, LEVELS, strict=True)
        ]
        return torch.cat(scores, dim=1)


class BoundedConv2d(nn.Conv2d):
    """A convolution by its weights over a bound of their largest singular value (Miyato et al. 2018), so that scores
    stay smooth.

    It is computed, not iterated: there is no state beside the weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        weight = self.weight / singular_bound(self.weight.flatten(1))
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def singular_bound(matrix: Tensor) -> Tensor:
    """No less than the largest singular value of (M, N), and no more than M ** (1 / 64) times it, a scalar.

    The Schatten norm of order 32, by products alone: eigenvalues have a GPU wait for milliseconds.
    """
    with torch.autocast(matrix.device.type, enabled=False):
        power = matrix.float() @ matrix.float().T  # of the squares of the singular values
        logarithm = power.new_zeros(())
        for doubled in range(_DOUBLINGS):
            length = torch.linalg.matrix_norm(power)
            logarithm = logarithm + length.log() / 2**doubled
            power = (power / length) @ (power / length)
        logarithm = logarithm + torch.linalg.matrix_norm(power).log() / 2**_DOUBLINGS
        bound: Tensor = (logarithm / 2).exp()
        return bound
