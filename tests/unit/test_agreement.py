"""Figures of anatomy, on pictures whose agreement is known."""

from __future__ import annotations

import numpy as np
import pytest

from mrigen.agreement import FIGURES, Image, agreement_of, boundary_distance, edge_correlation, shared_information

PLACES = np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), -1)


def disc(centre: float, inner: float, outer: float) -> Image:
    """A dark and a bright ring around a place, on black."""
    radius = np.linalg.norm(PLACES - [centre, 32.0], axis=-1)
    return np.select([radius < 10, radius < 22], [inner, outer], -1.0)


def test_another_contrast_of_one_shape_agrees_in_all_and_a_shift_is_told_in_pixels() -> None:
    one, other, away = disc(32, 0.5, -0.3), disc(32, -0.6, 0.8), disc(36, 0.5, -0.3)
    assert shared_information(one, other) == pytest.approx(1.0)
    assert boundary_distance(one, other) == 0.0
    assert edge_correlation(one, one) == pytest.approx(1.0)
    assert edge_correlation(one, other) > 0.7 > 0.3 > edge_correlation(one, away)
    assert 1.5 < boundary_distance(one, away) <= 4.0
    noise = np.random.default_rng(0).uniform(-0.8, 1.0, (2, 256, 256))
    assert shared_information(*noise) < 0.01


def test_persons_are_held_against_themselves_and_their_neighbours() -> None:
    persons = [[disc(32 + 3 * k, 0.5, -0.3), disc(32 + 3 * k, -0.6, 0.8)] for k in range(3)]
    empty = [np.full((64, 64), -1.0)] * 2
    found = agreement_of([[persons[0], empty, persons[1]], [persons[2]]])
    assert found is not None
    assert found.num_persons == 4
    assert found.same["shared information"] == pytest.approx(1.0)
    distances = [boundary_distance(persons[a][0], persons[b][1]) for a, b in ((0, 1), (1, 0))]
    assert found.others["distance of boundaries in pixels"] == pytest.approx(np.mean(distances))
    assert found.same.keys() == found.others.keys() == FIGURES.keys()
    assert agreement_of([[persons[0]]]) is None
