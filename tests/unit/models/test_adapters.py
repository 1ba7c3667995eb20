"""Low-rank adapters: what they add to the weights, how many numbers they are, and what is left of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mrigen.labels import all_cells
from mrigen.models.adapters import add_adapters, merged_state
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from tests.fake_run import tiny_config

CONFIG, RANK = tiny_config(), 3


def predicted(model: Denoiser) -> Tensor:
    conditions = Conditions.of(all_cells()[:2], [0.0, 6.0])
    noise = torch.randn(2, *CONFIG.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(noise, torch.tensor([100, 900]), conditions)


@pytest.fixture
def models() -> tuple[Denoiser, Denoiser]:
    """A denoiser, and the same with adapters."""
    torch.manual_seed(0)
    base = Denoiser.build(CONFIG)
    adapted = copy.deepcopy(base)
    add_adapters(adapted.unet, RANK)
    return base, adapted


def layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}


def test_fresh_adapters_change_nothing_and_have_the_numbers_of_two_thin_matrices(models):
    base, adapted = models
    torch.testing.assert_close(predicted(adapted), predicted(base), rtol=1e-5, atol=1e-6)
    numbers = 0
    for layer in layers(base.unet).values():
        out, inputs, *window = layer.weight.shape
        numbers += RANK * (out + inputs * torch.Size(window).numel())
    assert sum(one.numel() for one in adapted.unet.parameters() if one.requires_grad) == numbers
    assert all(one.requires_grad for one in adapted.conditioner.parameters())


def test_merged_weights_are_those_before_and_the_product_of_the_adapters(models):
    base, adapted = models
    generator = torch.Generator().manual_seed(2)
    for parameter in adapted.unet.parameters():
        if parameter.requires_grad:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    before, state = copy.deepcopy(base.unet.state_dict()), adapted.unet.state_dict()
    ordinary = merged_state(adapted.unet)
    assert ordinary.keys() == before.keys()
    for name, weight in ordinary.items():
        expected, layer = before[name], name.removesuffix(".weight")
        if layer in layers(base.unet) and name.endswith(".weight"):
            a, b = (state[f"{layer}.parametrizations.weight.0.{which}"] for which in "ab")
            expected = expected + (b @ a).view(expected.shape)
        torch.testing.assert_close(
            weight, expected, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    first = predicted(base)
    base.unet.load_state_dict(ordinary)
    now = predicted(base)
    assert float((now - first).abs().max()) > 0.1
    torch.testing.assert_close(now, predicted(adapted), rtol=1e-4, atol=1e-4)
