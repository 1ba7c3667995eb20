"""Conditions as tokens: nulls, dropout, and that each token tells its own label only."""

from __future__ import annotations

import math

import pytest
import torch

from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.models.conditioning import NULL_MODALITY, NULL_PATHOLOGY, Conditioner, Conditions, drop_conditions


@pytest.fixture
def conditioner() -> Conditioner:
    torch.manual_seed(0)
    return Conditioner(16)


def test_tokens_are_factorised(conditioner):
    cells = all_cells()
    tokens = conditioner(Conditions.of(cells, [0.0] * 20)).detach()
    assert tokens.shape == (20, 3, 16)
    for i, a in enumerate(cells):
        for j, b in enumerate(cells):
            assert torch.equal(tokens[i, 0], tokens[j, 0]) == (a.pathology == b.pathology)
            assert torch.equal(tokens[i, 1], tokens[j, 1]) == (a.modality == b.modality)


def test_position_tokens_tell_heights_apart_and_nan_is_null(conditioner):
    heights = [-20.0, 0.0, 1.0, 46.0, math.nan]
    tokens = conditioner(Conditions.of([Cell(Pathology.HEALTHY, Modality.T1W)] * 5, heights))[:, 2].detach()
    assert torch.isfinite(tokens).all()
    distances = torch.cdist(tokens, tokens) + torch.eye(5)
    assert float(distances.min()) > 1e-3
    torch.testing.assert_close(tokens[4], conditioner.null_position)


def test_gradients_survive_null_positions(conditioner):
    conditioner(Conditions.of([Cell(Pathology.HEALTHY, Modality.PD)] * 2, [math.nan, 3.0])).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in conditioner.parameters())


def test_dropout_is_independent_and_jointly_at_the_rates_asked_for():
    num = 40_000
    conditions = Conditions(torch.zeros(num).long(), torch.ones(num).long(), torch.full((num,), 5.0))
    uniform = torch.rand((num, 4), generator=torch.Generator().manual_seed(0))
    dropped = drop_conditions(conditions, uniform, pathology=0.1, modality=0.2, position=0.3, joint=0.05)
    no_pathology = dropped.pathology == NULL_PATHOLOGY
    no_modality = dropped.modality == NULL_MODALITY
    rates = {
        "pathology": (no_pathology, 1 - 0.9 * 0.95),
        "modality": (no_modality, 1 - 0.8 * 0.95),
        "both": (no_pathology & no_modality, 0.05 + 0.95 * 0.1 * 0.2),
        "position": (torch.isnan(dropped.slice_mm), 0.3),
    }
    for name, (mask, expected) in rates.items():
        assert float(mask.float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(expected / num)), name


def test_without_dropout_nothing_changes():
    conditions = Conditions.of(all_cells(), [1.0] * 20)
    kept = drop_conditions(conditions, torch.rand(20, 4), pathology=0, modality=0, position=0, joint=0)
    assert torch.equal(kept.pathology, conditions.pathology)
    assert torch.equal(kept.modality, conditions.modality)
    assert torch.equal(kept.slice_mm, conditions.slice_mm)
