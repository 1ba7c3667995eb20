"""What the libraries that published figures come from make of made-up weights and images.

`python -m tests.pretrained_reference` writes `REFERENCE`, in an environment of its own that has torch, torchvision,
torch-fidelity and keras (with KERAS_BACKEND=torch). The tests need none of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

REFERENCE = Path(__file__).parent / "unit" / "metrics" / "pretrained_reference.json"
EVERY = 128
"""One feature in so many is kept."""
BGR_MEAN = torch.tensor([0.406, 0.456, 0.485]).view(1, 3, 1, 1)

Reference = tuple[dict[str, torch.Size], Tensor]
"""The shapes of a network's tensors, by name, and its features."""


def made_up_weights(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Weights that depend on their names and shapes only, and let signals through.

    Variances go down to 1e-5, so that the eps of a normalisation shows.
    """
    weights = {key: _made_up(key, shape) for key, shape in shapes.items()}
    for key in shapes:
        before, _, last = key.rpartition(".")
        if last == "running_var":
            deviation = weights[key].sqrt()
            for beside in ("weight", "running_mean"):
                weights[f"{before}.{beside}"] *= deviation
    return weights


def _made_up(key: str, shape: torch.Size) -> Tensor:
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if key.endswith("running_var"):
        return 10.0 ** (-5.0 * uniform)
    if len(shape) > 1:
        return (2.0 * uniform - 1.0) * math.sqrt(6.0 / shape[1:].numel())
    if key.endswith("weight"):
        return 0.5 + uniform
    return 0.2 * (uniform - 0.5)


def made_up_images() -> Tensor:
    """Two images of 8 x 8 squares at random whole 8-bit levels, (2, 1, 64, 64) in [-1, 1]."""
    levels = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    return levels.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3) / 127.5 - 1.0


def shapes_of(network: nn.Module) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in network.state_dict().items()}


def layout(shapes: Mapping[str, torch.Size]) -> str:
    """A hash of all names and shapes but the counters', which files may leave out."""
    lines = [
        f"{key} {tuple(shape)}" for key, shape in sorted(shapes.items()) if not key.endswith("num_batches_tracked")
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def inception_reference(images: Tensor) -> Reference:
    """By torch-fidelity."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):
        def load_state_dict(self, state: object) -> None:
            """The weights come afterwards."""

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    network = Bare("inception", ["2048"], feature_extractor_weights_path=nothing)
    nn.Module.load_state_dict(network, made_up_weights(shapes_of(network)))
    levels = ((images + 1.0) * 127.5).round().to(torch.uint8)
    return shapes_of(network), network(levels.expand(-1, 3, -1, -1))[0]


def radimagenet_pytorch_reference(images: Tensor) -> Reference:
    """By torchvision, as RadImageNet's notebook for PyTorch uses it."""
    from torchvision.models import resnet50

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(*list(resnet50(weights=None).children())[:9])

    network = Backbone().eval()
    network.load_state_dict(made_up_weights(shapes_of(network)))
    resized = functional.interpolate(images, (224, 224), mode="bilinear", align_corners=False)
    return shapes_of(network), network.backbone(resized.expand(-1, 3, -1, -1)).flatten(1)


def radimagenet_keras_reference(images: Tensor) -> Reference:
    """By Keras, with the weights named as in the conversion to PyTorch."""
    from keras.applications import ResNet50

    network = ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(64, 64, 3))
    layers = {_converted_name(layer.name): layer for layer in network.layers if layer.weights}
    shapes: dict[str, torch.Size] = {}
    for name, layer in layers.items():
        for part, value in _converted(layer.get_weights()).items():
            shapes[f"{name}.{part}"] = value.shape
    weights = made_up_weights(shapes)
    for name, layer in layers.items():
        parts = [weights[f"{name}.{part}"] for part in _converted(layer.get_weights())]
        layer.set_weights([part.permute(2, 3, 1, 0) if part.ndim == 4 else part for part in parts])
    blue_first = (images.expand(-1, 3, -1, -1) + 1.0) / 2.0 - BGR_MEAN
    return shapes, torch.as_tensor(network(blue_first.permute(0, 2, 3, 1), training=False))


def _converted(weights: list[object]) -> dict[str, Tensor]:
    """A layer's arrays by the names that torch gives them."""
    tensors = [torch.as_tensor(array) for array in weights]
    if len(tensors) == 2:
        return {"weight": tensors[0].permute(3, 2, 0, 1), "bias": tensors[1]}
    return dict(zip(("weight", "bias", "running_mean", "running_var"), tensors, strict=True))


def _converted_name(name: str) -> str:
    """`conv3_block2_1_bn` -> `layer2.1.bn1`; number 0 is the way past the block."""
    parts = name.split("_")
    if len(parts) == 2:
        return {"conv": "conv1", "bn": "bn1"}[parts[1]]
    stage, block, number, kind = parts
    place = f"layer{int(stage.removeprefix('conv')) - 1}.{int(block.removeprefix('block')) - 1}"
    if number == "0":
        return f"{place}.downsample.{('conv', 'bn').index(kind)}"
    return f"{place}.{kind}{number}"


def main() -> None:
    images = made_up_images()
    references = {
        "inception": inception_reference,
        "radimagenet-pytorch": radimagenet_pytorch_reference,
        "radimagenet-keras": radimagenet_keras_reference,
    }
    kept: dict[str, object] = {}
    for name, reference in references.items():
        with torch.inference_mode():
            shapes, features = reference(images)
        rows = [[float(f"{value:.7g}") for value in row] for row in features[:, ::EVERY].tolist()]
        kept[name] = {"layout": layout(shapes), "features": rows}
    REFERENCE.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
