from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_image

from mrigen.features.efficientnet import FeatureExtractor
from tests.fake_run import made_up_image

DAISY = 985
"""The ImageNet class of a flower with rays of petals."""


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(64)


def some_images(n: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(made_up_image(i))[None] for i in range(n)])


def test_features_are_finite_and_as_many_as_promised(extractor: FeatureExtractor) -> None:
    features = extractor(some_images(3))
    assert features.shape == (3, 1280)
    assert bool(torch.isfinite(features).all())
    assert not features.requires_grad


def test_equal_batches_give_equal_bits_and_another_instance_too(extractor: FeatureExtractor) -> None:
    images = some_images(4)
    assert torch.equal(extractor(images), extractor(images))
    assert torch.equal(extractor(images), FeatureExtractor(64)(images))


def test_the_weights_know_a_flower() -> None:
    """Weights, scaling of the levels and pooling are right if the network's own head recognises a photograph."""
    photo = torch.from_numpy(load_sample_image("flower.jpg").copy()).float().mean(-1)[None, None] / 127.5 - 1
    square = photo[..., 100:-100]
    extractor = FeatureExtractor(224)
    logits = extractor._network._fc(extractor(square))
    assert DAISY in logits[0].topk(5).indices.tolist()


def test_the_network_sees_what_it_was_trained_on(extractor: FeatureExtractor) -> None:
    """8-bit levels 0 and 255 as (level - 127) / 128, in three equal channels, resized, clipped."""
    seen: list[torch.Tensor] = []
    hook = extractor._network._conv_stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    extractor(torch.tensor([-1.0, 1.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 16, 16))
    hook.remove()
    assert seen[0].shape == (3, 3, 64, 64)
    for image, level in zip(seen[0], (0.0, 255.0, 255.0), strict=True):
        assert image.unique().tolist() == pytest.approx([(level - 127.0) / 128.0])


@pytest.mark.parametrize("shape", [(64, 64), (1, 3, 64, 64)])
def test_wrong_shapes_are_refused(extractor: FeatureExtractor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must be"):
        extractor(torch.zeros(shape))
