"""Extractors whose weights the user brings: the Inception of FID, and RadImageNet's ResNet-50.

The networks are our own code (torch alone), held by tests against the libraries that published figures come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from mrigen.errors import InputError
from mrigen.features.inception import InceptionV3
from mrigen.features.resnet import KERAS, TORCHVISION, ResNet50
from mrigen.storage import Location

INCEPTION = "inception"
RADIMAGENET = "radimagenet"
PRETRAINED = (INCEPTION, RADIMAGENET)

RADIMAGENET_SIDE = 224
"""Pixels a side that the weights for PyTorch were trained on."""
BGR_MEAN = (0.406, 0.456, 0.485)
"""ImageNet's means, blue first: what MONAI's tutorials subtract before the converted weights."""


@dataclass(frozen=True)
class _Kind:
    """A network, what is done to images before it, and how its published weights are named."""

    title: str
    build: Callable[[], nn.Module]
    prepare: Callable[[Tensor], Tensor]
    """Images (B, 1, S, S) in [-1, 1] -> (B, 3, H, W) as the network wants them."""
    renamed: Mapping[str, str]
    """First part of a key of ours -> the file's."""

    def key(self, ours: str) -> str:
        """The name in the file of a tensor of ours."""
        first, _, rest = ours.partition(".")
        return f"{self.renamed.get(first, first)}.{rest}"


class PretrainedFeatures:
    """Images (B, 1, S, S) in [-1, 1] -> features (B, 2048). Equal batches on one thread give equal bits."""

    def __init__(self, network: nn.Module, prepare: Callable[[Tensor], Tensor]) -> None:
        """`prepare` turns images (B, 1, S, S) in [-1, 1] into what `network` wants."""
        self._network = network.requires_grad_(False).eval()
        self._prepare = prepare

    def to(self, device: torch.device) -> Self:
        """Move the network to `device`, where images must then be."""
        self._network.to(device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Raises ValueError unless `images` is (B, 1, S, S)."""
        if images.ndim != 4 or images.shape[1] != 1:
            raise ValueError(f"images must be (B, 1, S, S), got {tuple(images.shape)}")
        features: Tensor = self._network(self._prepare(images.float().clamp(-1.0, 1.0)))
        return features


def load_pretrained(name: str, weights: Location) -> PretrainedFeatures:
    """The extractor `name` with the weights of a safetensors file; docs/evaluation.md tells how one is made.

    Raises InputError if there is no such file, it is no safetensors file, or a tensor is missing, too much, or of
    another shape or type than in the published weights.
    """
    tensors = _read(name, weights)
    kind = _kind(name, tensors)
    network = kind.build()
    wanted = {kind.key(ours): target for ours, target in network.state_dict().items() if not _is_counter(ours)}
    for key, target in wanted.items():
        target.copy_(_matching(tensors.get(key), target, f"{weights}: {key}", kind.title))
    if left := [key for key in tensors if key not in wanted and not _is_counter(key)]:
        raise InputError(f"{weights}: {min(left)} is not of {kind.title}: these are weights of another network")
    return PretrainedFeatures(network, kind.prepare)


def _read(name: str, weights: Location) -> dict[str, Tensor]:
    if not weights.is_file():
        raise InputError(f"no file {weights}, which the extractor {name} takes its weights from")
    try:
        tensors: dict[str, Tensor] = load(weights.read_bytes())
    except SafetensorError:
        raise InputError(
            f"{weights} is not a whole safetensors file: docs/evaluation.md tells how to make one"
        ) from None
    return tensors


def _is_counter(key: str) -> bool:
    """Whether the tensor counts the steps of a training: it changes no feature, and not every file has it."""
    return key.endswith(".num_batches_tracked")


def _matching(given: Tensor | None, target: Tensor, where: str, title: str) -> Tensor:
    """The tensor that was given for `target`. Raises InputError if it cannot be it."""
    if given is None:
        raise InputError(f"{where} is missing, which {title} needs: these are weights of another network")
    if given.shape != target.shape:
        raise InputError(f"{where} has the shape {tuple(given.shape)}, but {tuple(target.shape)} in {title}")
    if given.dtype != target.dtype:
        raise InputError(
            f"{where} is {given.dtype}, not the {target.dtype} of {title}: convert the published file as it is"
        )
    return given


def _kind(name: str, tensors: Mapping[str, Tensor]) -> _Kind:
    if name == INCEPTION:
        return _INCEPTION
    if name == RADIMAGENET:
        return _RADIMAGENET_KERAS if "conv1.weight" in tensors else _RADIMAGENET_PYTORCH
    raise ValueError(f"the extractor {name!r} takes no weights; these do: {', '.join(PRETRAINED)}")


def _levels(images: Tensor) -> Tensor:
    """Published FIDs are of 8-bit images: whole levels from 0 to 255, in three equal channels."""
    return ((images + 1.0) * 127.5).round().expand(-1, 3, -1, -1)


def _as_radimagenet_trains(images: Tensor) -> Tensor:
    """As the official notebook (BMEII-AI/RadImageNet, acl_pytorch_train.ipynb): [-1, 1], resized by `cv2.resize`."""
    side = (RADIMAGENET_SIDE, RADIMAGENET_SIDE)
    resized = functional.interpolate(images, side, mode="bilinear", align_corners=False)
    return resized.expand(-1, 3, -1, -1)


def _as_monai_does(images: Tensor) -> Tensor:
    """As MONAI's tutorials: [0, 1] less the mean, blue first, at the size that the images have."""
    return (images + 1.0) / 2.0 - images.new_tensor(BGR_MEAN).view(1, 3, 1, 1)


_INCEPTION = _Kind("the Inception of FID", InceptionV3, _levels, {})
_RADIMAGENET_KERAS = _Kind("RadImageNet's ResNet-50 from Keras", lambda: ResNet50(KERAS), _as_monai_does, {})
# The official file numbers the children of torchvision's ResNet-50; 2 and 3 have no weights.
_RADIMAGENET_PYTORCH = _Kind(
    "RadImageNet's ResNet-50 for PyTorch",
    lambda: ResNet50(TORCHVISION),
    _as_radimagenet_trains,
    {
        "conv1": "backbone.0",
        "bn1": "backbone.1",
        "layer1": "backbone.4",
        "layer2": "backbone.5",
        "layer3": "backbone.6",
        "layer4": "backbone.7",
    },
)
