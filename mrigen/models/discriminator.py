"""What tells reconstructions from images, patch by patch, while the autoencoder is trained."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

CHANNELS = (32, 64, 128)


class PatchDiscriminator(nn.Module):
    """Images (B, 1, S, S) -> a score of each patch (B, 1, S / 8, S / 8), high for real ones (Isola et al. 2017).

    Without norms, so that a score depends on its own patch alone.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4, CHANNELS[0], 3, padding=1), nn.LeakyReLU(0.2)]
        for finer, coarser in pairwise(CHANNELS):
            layers += [nn.Conv2d(finer, coarser, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(CHANNELS[-1], 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1, S, S) -> scores (B, 1, S / 8, S / 8)."""
        scores: Tensor = self.layers(images)
        return scores
