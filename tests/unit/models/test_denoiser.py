"""The denoiser: without conditions it is its own unguided prediction, and the conditions are seen."""

from __future__ import annotations

import pytest
import torch

from mrigen.config import DenoiserConfig
from mrigen.diffusion.sampling import guided
from mrigen.labels import all_cells
from mrigen.models.conditioning import CONDITIONS, NUM_UNIFORMS, Conditions, drop_conditions
from mrigen.models.denoiser import Denoiser
from tests.fake_run import tiny_config

CELLS = all_cells()[::5]


@pytest.fixture(scope="module")
def predict():
    """Conditions of four rows -> the predicted v."""
    torch.manual_seed(0)
    config = tiny_config()
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
    dropped = drop_conditions(
        Conditions.of(CELLS, [1.0, 2.0, 3.0, 4.0]),
        torch.full((len(CELLS), NUM_UNIFORMS), 0.5),
        DenoiserConfig(pathology_dropout=1.0, modality_dropout=1.0, position_dropout=1.0),
    )
    none = Conditions.of(CELLS, [0.0] * len(CELLS)).without(*CONDITIONS)
    assert torch.equal(predict(dropped), predict(none))


def test_a_row_does_not_see_its_neighbours(predict):
    conditions = Conditions.of(CELLS, [1.0, 2.0, 3.0, 4.0])
    others = Conditions.of([CELLS[0], *CELLS[:0:-1]], [1.0, 5.0, 6.0, 7.0])
    assert torch.equal(predict(conditions)[0], predict(others)[0])


def test_in_bfloat16_it_predicts_nearly_the_same_and_stays_itself():
    torch.manual_seed(0)
    config = tiny_config()
    model = Denoiser.build(config).eval().requires_grad_(False)
    asked = torch.randn(4, *config.latent_shape), torch.tensor([0, 10, 500, 999]), Conditions.of(CELLS, [0.0] * 4)
    exact, low = model(*asked), model.in_bfloat16()
    rough = low(*asked)
    assert rough.dtype == torch.bfloat16
    assert {weight.dtype for weight in low.unet.parameters()} == {torch.bfloat16}
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.02
    assert torch.equal(model(*asked), exact)
