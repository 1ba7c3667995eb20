"""The feature extractors that a configuration names, ready to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from mrigen.condition_classifier.classifier import Classifier
from mrigen.config import EvaluationConfig
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.features.names import AUTOENCODER, EFFICIENTNET, MRI
from mrigen.features.networks import OpenNetworks
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

    name = AUTOENCODER

    def __init__(self, autoencoder: Autoencoder) -> None:
        self._autoencoder = autoencoder

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 1, S, S) -> (B, C * side * side)."""
        mean = self._autoencoder.encode(images).mean
        side = min(LATENT_SIDE, *mean.shape[2:])
        return functional.adaptive_avg_pool2d(mean, side).flatten(1)


class ClassifierFeatures:
    """What the heads of the run's own condition classifier see: it was trained to tell pathologies and modalities
    apart in MRI."""

    name = MRI

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 1, S, S) -> (B, 256)."""
        return self._classifier.features(images)


def build_extractors(
    names: Sequence[str], settings: EvaluationConfig, networks: OpenNetworks, device: torch.device
) -> list[Extractor]:
    """The extractors of these names, in their order. Raises ValueError for one whose network is not there."""
    built: list[Extractor] = []
    for name in names:
        if name == EFFICIENTNET:
            built.append(FeatureExtractor(settings.feature_size).to(device))
        elif name == AUTOENCODER and networks.autoencoder is not None:
            built.append(AutoencoderFeatures(networks.autoencoder))
        elif name == MRI and networks.classifier is not None:
            built.append(ClassifierFeatures(networks.classifier))
        elif name in networks.pretrained:
            built.append(networks.pretrained[name])
        else:
            raise ValueError(f"no network for the extractor {name!r}")
    return built
