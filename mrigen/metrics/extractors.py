"""The feature extractors that a configuration names, ready to use."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from mrigen.config import EvaluationConfig
from mrigen.metrics.features import FeatureExtractor
from mrigen.models.autoencoder import Autoencoder

LATENT_SIDE = 8
"""Latents are averaged down to this many positions a side at the most."""


class Extractor(Protocol):
    """What turns images into features; equal batches give equal bits."""

    @property
    def name(self) -> str: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 1, S, S) in [-1, 1] -> features (B, F)."""
        ...


class AutoencoderFeatures:
    """The mean of an autoencoder's posterior, averaged down to LATENT_SIDE positions a side and laid out flat.

    It sees what this run's denoiser is trained on, and knows MRI, which EfficientNet does not. But generated images
    were decoded by it, and what it cannot express it does not see; so it stands beside another extractor.
    """

    name = "autoencoder"

    def __init__(self, autoencoder: Autoencoder) -> None:
        self._autoencoder = autoencoder

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 1, S, S) -> (B, C * side * side)."""
        mean = self._autoencoder.encode(images).mean
        side = min(LATENT_SIDE, *mean.shape[2:])
        return functional.adaptive_avg_pool2d(mean, side).flatten(1)


def build_extractors(
    settings: EvaluationConfig, autoencoder: Autoencoder | None, device: torch.device
) -> list[Extractor]:
    """The extractors that `settings` name, in their order; that of the autoencoder is left out where there is none."""
    built: list[Extractor] = []
    for name in settings.extractors:
        if name == FeatureExtractor.name:
            built.append(FeatureExtractor(settings.feature_size).to(device))
        elif autoencoder is not None:
            built.append(AutoencoderFeatures(autoencoder))
    return built
