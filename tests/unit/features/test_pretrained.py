from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from mrigen.errors import InputError
from mrigen.features.inception import InceptionV3, resize_like_tensorflow1
from mrigen.features.pretrained import PretrainedFeatures, load_pretrained
from mrigen.features.resnet import KERAS, TORCHVISION, ResNet50
from mrigen.storage import Location
from tests.pretrained_reference import EVERY, REFERENCE, layout, made_up_images, made_up_weights, shapes_of

DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"
NUMBERED = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
"""Where the parts of torchvision's ResNet-50 stand among its children."""


def inception_shapes() -> dict[str, torch.Size]:
    return shapes_of(InceptionV3())


def keras_shapes() -> dict[str, torch.Size]:
    """Without the counters of training steps, which not every file has."""
    shapes = shapes_of(ResNet50(KERAS))
    return {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


@cache
def keras_weights() -> dict[str, Tensor]:
    return made_up_weights(keras_shapes())


def pytorch_shapes() -> dict[str, torch.Size]:
    parts = [(name.split(".", 1), shape) for name, shape in shapes_of(ResNet50(TORCHVISION)).items()]
    return {f"backbone.{NUMBERED[first]}.{rest}": shape for (first, rest), shape in parts}


SHAPES: dict[str, Callable[[], dict[str, torch.Size]]] = {
    "inception": inception_shapes,
    "radimagenet-pytorch": pytorch_shapes,
    "radimagenet-keras": keras_shapes,
}


@pytest.fixture(scope="module", params=sorted(SHAPES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def weights(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Location]:
    """A whole file of made-up weights."""
    path = tmp_path_factory.mktemp("weights") / f"{kind}.safetensors"
    save_file(made_up_weights(SHAPES[kind]()), path)
    yield Location.parse(path)
    path.unlink()


@pytest.fixture(scope="module")
def extractor(kind: str, weights: Location) -> PretrainedFeatures:
    return load_pretrained(kind.split("-")[0], weights)


@pytest.fixture(scope="module")
def features(extractor: PretrainedFeatures) -> Tensor:
    return extractor(made_up_images())


def file_of(folder: Path, tensors: dict[str, Tensor]) -> Location:
    path = folder / "weights.safetensors"
    path.write_bytes(save(tensors))
    return Location.parse(path)


def test_features_are_those_of_the_library_that_published_figures_come_from(
    kind: str, extractor: PretrainedFeatures, features: Tensor
) -> None:
    reference = json.loads(REFERENCE.read_text())[kind]
    assert layout(SHAPES[kind]()) == reference["layout"]
    assert features.shape == (2, 2048)
    assert not features.requires_grad
    torch.testing.assert_close(
        features[:, ::EVERY], torch.tensor(reference["features"]), rtol=0.0, atol=1e-5 * float(features.max())
    )


def test_values_are_clipped_and_inception_sees_whole_levels_only(
    kind: str, extractor: PretrainedFeatures, features: Tensor
) -> None:
    images = made_up_images()
    beyond, between = extractor(torch.stack([3.0 * images[0], images[1] + 0.4 / 127.5]))
    assert torch.equal(between, features[1]) == (kind == "inception")
    assert torch.equal(beyond, extractor(torch.stack([(3.0 * images[0]).clamp(-1.0, 1.0), images[1]]))[0])


@pytest.mark.parametrize("shape", [(64, 64), (1, 3, 64, 64)])
def test_wrong_shapes_are_refused(extractor: PretrainedFeatures, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be"):
        extractor(torch.zeros(shape))


def test_the_resize_lays_corners_on_corners() -> None:
    """A ramp is interpolated without error: pixel i of 10 shows what stands at 0.4 i, up to the last of the 4."""
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    expected = (0.4 * torch.arange(10.0)).clamp_max(3.0).expand(10, 10)
    torch.testing.assert_close(resize_like_tensorflow1(ramp, 10)[0, 0], expected)
    torch.testing.assert_close(resize_like_tensorflow1(ramp.mT, 10)[0, 0], expected.T)


def test_it_moves_to_a_device(tmp_path: Path) -> None:
    weights = file_of(tmp_path, keras_weights())
    moved = load_pretrained("radimagenet", weights).to(torch.device("meta"))
    assert moved(made_up_images().to("meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        pytest.param(
            "inception",
            {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3)},
            "{file}: Conv2d_1a_3x3.bn.weight is missing, which the Inception of FID needs: "
            "these are weights of another network",
            id="a tensor is missing",
        ),
        pytest.param(
            "inception",
            {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 1, 3, 3)},
            "{file}: Conv2d_1a_3x3.conv.weight has the shape (32, 1, 3, 3), but (32, 3, 3, 3) in the Inception of FID",
            id="another shape",
        ),
        pytest.param(
            "radimagenet",
            {"backbone.0.weight": torch.zeros(64, 3, 7, 7, dtype=torch.float16)},
            "{file}: backbone.0.weight is torch.float16, not the torch.float32 of RadImageNet's ResNet-50 for PyTorch: "
            "convert the published file as it is",
            id="another type",
        ),
        pytest.param(
            "radimagenet",
            {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(1000, 2048)},
            "{file}: conv1.bias is missing, which RadImageNet's ResNet-50 from Keras needs: "
            "these are weights of another network",
            id="the ResNet-50 of torchvision",
        ),
        pytest.param(
            "radimagenet",
            {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3)},
            "{file}: backbone.0.weight is missing, which RadImageNet's ResNet-50 for PyTorch needs: "
            "these are weights of another network",
            id="the other extractor's file",
        ),
    ],
)
def test_weights_of_another_network_are_refused(
    name: str, tensors: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    weights = file_of(tmp_path, tensors)
    with pytest.raises(InputError) as caught:
        load_pretrained(name, weights)
    assert str(caught.value) == message.format(file=weights)


def test_a_tensor_too_much_is_refused(tmp_path: Path) -> None:
    weights = file_of(tmp_path, {**keras_weights(), "fc.weight": torch.zeros(2), "fc.bias": torch.zeros(2)})
    with pytest.raises(InputError) as caught:
        load_pretrained("radimagenet", weights)
    assert str(caught.value) == (
        f"{weights}: fc.bias is not of RadImageNet's ResNet-50 from Keras: these are weights of another network"
    )


@pytest.mark.parametrize("damage", ["a renamed pickle", "half a file"])
def test_what_is_no_safetensors_file_is_refused(damage: str, tmp_path: Path) -> None:
    tensors = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    weights = file_of(tmp_path, tensors)
    if damage == "a renamed pickle":
        torch.save(tensors, weights.path)
    else:
        weights.write_bytes(save(tensors)[:5000])
    with pytest.raises(InputError) as caught:
        load_pretrained("radimagenet", weights)
    assert str(caught.value) == f"{weights} is not a whole safetensors file: docs/evaluation.md tells how to make one"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    weights = Location.parse(tmp_path / "none.safetensors")
    with pytest.raises(InputError) as caught:
        load_pretrained("inception", weights)
    assert str(caught.value) == f"no file {weights}, which the extractor inception takes its weights from"


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    weights = file_of(tmp_path, {})
    with pytest.raises(ValueError, match="'mri' takes no weights; these do: inception, radimagenet"):
        load_pretrained("mri", weights)


def test_the_documented_conversion_gives_a_file_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the state dict that RadImageNet published: an ordered dictionary with versions, saved by `torch.save`."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    start = lines.index("    import torch")
    code = "\n".join(line[4:] for line in lines[start : start + 5])
    published = torch.nn.Module.state_dict(ResNet50(TORCHVISION))
    for name, tensor in list(published.items()):
        first, rest = name.split(".", 1)
        published[f"backbone.{NUMBERED[first]}.{rest}"] = tensor.mT.contiguous().mT if tensor.ndim == 4 else tensor
        del published[name]
    torch.save(published, tmp_path / "ResNet50.pt")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    extractor = load_pretrained("radimagenet", Location.parse(tmp_path / "ResNet50.safetensors"))
    assert bool(torch.isfinite(extractor(made_up_images())).all())
