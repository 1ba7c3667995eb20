"""The denoiser: without conditions it is its own unguided prediction, and the conditions are seen."""

from __future__ import annotations

import pytest
import torch

from mrigen.config import DenoiserConfig
from mrigen.diffusion.sampling import guided
from mrigen.labels import all_cells
from mrigen.models.conditioning import CONDITIONS, Conditions, drop_conditions
from mrigen.models.conv_unet import attend
from mrigen.models.denoiser import Denoiser
from tests.fake_run import tiny_config

CELLS = all_cells()[::5]


@pytest.fixture(scope="module", params=["unet", "conv"])
def predict(request):
    """Conditions of four rows -> the predicted v."""
    torch.manual_seed(0)
    config = tiny_config(f"denoiser.network={request.param}")
    model = Denoiser.build(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # fresh, the last layers are next to zero
        torch.nn.init.normal_(parameter, std=0.1)
    latents = torch.randn(len(CELLS), *config.latent_shape)
    return lambda conditions: model(latents, torch.tensor([0, 10, 500, 999]), conditions)


def test_with_null_conditions_it_equals_itself_unguided(predict):
    conditions = Conditions.of(CELLS, [1.0, 2.0, 3.0, 4.0])
    null = conditions.without_cell()
    unguided = predict(null)
    assert float((predict(conditions) - unguided).abs().min(dim=0).values.max()) > 1e-3  # conditions are seen
    for scale in (0.0, 1.0, 2.0, 7.5):
        scales = torch.full((len(CELLS),), scale)
        torch.testing.assert_close(guided(unguided, [(scales, predict(null))]), unguided, rtol=0, atol=0)
    torch.testing.assert_close(guided(unguided, [(torch.zeros(len(CELLS)), predict(conditions))]), unguided)
    torch.testing.assert_close(guided(unguided, [(torch.ones(len(CELLS)), predict(conditions))]), predict(conditions))


def test_dropping_all_is_having_none(predict):
    conditions = Conditions.of(CELLS, [1.0, 2.0, 3.0, 4.0])
    dropped = drop_conditions(
        conditions,
        torch.full((len(CELLS), conditions.num_uniforms), 0.5),
        DenoiserConfig(pathology_dropout=1.0, modality_dropout=1.0, position_dropout=1.0),
    )
    none = Conditions.of(CELLS, [0.0] * len(CELLS)).without(*CONDITIONS)
    assert torch.equal(predict(dropped), predict(none))


def test_a_row_does_not_see_its_neighbours(predict):
    conditions = Conditions.of(CELLS, [1.0, 2.0, 3.0, 4.0])
    others = Conditions.of([CELLS[0], *CELLS[:0:-1]], [1.0, 5.0, 6.0, 7.0])
    assert torch.equal(predict(conditions)[0], predict(others)[0])


@pytest.mark.parametrize("network", ["unet", "conv"])
def test_in_bfloat16_it_predicts_nearly_the_same_and_stays_itself(network):
    torch.manual_seed(0)
    config = tiny_config(f"denoiser.network={network}")
    model = Denoiser.build(config).eval().requires_grad_(False)
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    asked = torch.randn(4, *config.latent_shape), torch.tensor([0, 10, 500, 999]), Conditions.of(CELLS, [0.0] * 4)
    exact, low = model(*asked), model.in_bfloat16()
    rough = low(*asked)
    assert rough.dtype == torch.bfloat16
    assert {weight.dtype for weight in low.unet.parameters()} == {torch.bfloat16}
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.02
    assert torch.equal(model(*asked), exact)


def test_attention_on_a_cpu_is_that_of_pytorch():
    query, *others = torch.randn(3, 2, 4, 7, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(query[:, :, :5], *others)
    torch.testing.assert_close(attend(query[:, :, :5], *others), expected)


def test_a_network_without_norms_begins_by_predicting_nothing_and_learns_from_all_of_it():
    torch.manual_seed(0)
    config = tiny_config("denoiser.network=conv")
    model = Denoiser.build(config)
    asked = torch.randn(4, *config.latent_shape), torch.tensor([0, 10, 500, 999]), Conditions.of(CELLS, [0.0] * 4)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for step in range(4):  # layers that begin at zero open up one after the other
        predicted = model(*asked)
        assert step or not predicted.any()
        optimizer.zero_grad()
        (predicted - 1).square().mean().backward()
        optimizer.step()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert [name for name in still if "null" not in name] == []
