"""Conditions as tokens: nulls, dropout, and that each token tells its own label only."""

from __future__ import annotations

import math

import pytest
import torch

from mrigen.config import DenoiserConfig
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.models.conditioning import (
    CONDITIONS,
    Conditioner,
    Conditions,
    Continuous,
    drop_conditions,
    vocabulary_of,
)


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
    conditions = Conditions.of([Cell(Pathology.HEALTHY, Modality.T1CE)] * num, [5.0] * num)
    uniform = torch.rand((num, conditions.num_uniforms), generator=torch.Generator().manual_seed(0))
    settings = DenoiserConfig(pathology_dropout=0.1, modality_dropout=0.2, position_dropout=0.3, joint_dropout=0.05)
    dropped = drop_conditions(conditions, uniform, settings).values
    no_pathology, no_modality = (dropped[name] == CONDITIONS[name].null for name in ("pathology", "modality"))
    rates = {
        "pathology": (no_pathology, 1 - 0.9 * 0.95),
        "modality": (no_modality, 1 - 0.8 * 0.95),
        "both": (no_pathology & no_modality, 0.05 + 0.95 * 0.1 * 0.2),
        "position": (torch.isnan(dropped["slice_mm"]), 0.3),
    }
    for name, (mask, expected) in rates.items():
        assert float(mask.float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(expected / num)), name
    for name, values in conditions.values.items():
        null = values.isnan() if name == "slice_mm" else values == CONDITIONS[name].null
        assert not null.any()


def test_the_source_is_dropped_by_a_chance_of_its_own_and_stands_where_guidance_leads_from():
    conditions = Conditions.of(all_cells()[:3], [5.0] * 3, vocabulary_of(["A", "B"]), source=["B", "A", None])
    assert conditions.values["source"].tolist() == [1, 0, 2]
    assert conditions.without_cell().values["source"].tolist() == [1, 0, 2]
    uniform = torch.full((3, conditions.num_uniforms), 0.5)
    for source, joint, expected in [(0.0, 1.0, [1, 0, 2]), (1.0, 0.0, [2, 2, 2])]:
        settings = DenoiserConfig(source_dropout=source, joint_dropout=joint)
        dropped = drop_conditions(conditions, uniform, settings).values
        assert dropped["source"].tolist() == expected
        assert bool((dropped["pathology"] == CONDITIONS["pathology"].null).all()) == (joint == 1.0)


def test_without_sources_there_is_neither_token_nor_random_number_for_them(conditioner):
    told = Conditioner(16, vocabulary_of(["A", "B"]))
    assert set(told.state_dict()) - set(conditioner.state_dict()) == {"source.weight"}
    assert len(told.source.weight) == 3
    assert vocabulary_of(()) is CONDITIONS
    assert Conditions.of(all_cells(), [0.0] * 20).num_uniforms == 4  # the next would be another draw of all trainings


def test_rows_are_taken_joined_and_dropped_whole():
    conditions = Conditions.of(all_cells(), [float(k) for k in range(20)])
    both = conditions[3:5].joined(conditions.without_cell()[10:])
    assert both.values["pathology"].tolist() == [0, 0] + [4] * 10
    assert both.values["modality"].tolist() == [3, 4] + [5] * 10
    assert both.values["slice_mm"].tolist() == [3.0, 4.0, *map(float, range(10, 20))]


def test_a_new_condition_is_one_declaration():
    """Its token comes last and leaves the others as they are; rows that do not tell it have its null."""
    cells = all_cells()[:2]
    torch.manual_seed(0)
    before = Conditioner(16)(Conditions.of(cells, [1.0, 2.0]))
    vocabulary = {**CONDITIONS, "age": Continuous(5.0, 200.0, token="age", dropout="position_dropout")}
    torch.manual_seed(0)
    after = Conditioner(16, vocabulary)
    untold = Conditions.of(cells, [1.0, 2.0], vocabulary)
    told = Conditions.of(cells, [1.0, 2.0], vocabulary, age=[30.0, 60.0])
    assert torch.equal(after(told)[:, :3], before)
    assert torch.equal(after(untold)[:, 3], after.null_age.expand(2, -1))
    dropped = drop_conditions(told, torch.tensor([[0.9, 0.9, 0.9, 0.0, 0.9]] * 2), DenoiserConfig())
    assert torch.equal(after(dropped), after(untold))


def test_the_names_of_the_weights_are_those_of_the_first_release(conditioner):
    assert list(conditioner.state_dict()) == [
        "null_position",
        "pathology.weight",
        "modality.weight",
        *(f"position.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")),
    ]
