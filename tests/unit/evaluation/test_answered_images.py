from __future__ import annotations

import numpy as np
import pytest

from mrigen.evaluation.answered_images import joined, kid_figure
from mrigen.evaluation.extrapolation import passed_off
from mrigen.labels import Cell
from mrigen.metrics.kernel import kid, mean_cell_kid
from mrigen.metrics.resampling import seeded
from tests.unit.studies.scored_fakes import NAME, scored

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Healthy:PD", "Sclerosis:T1w")]


def test_it_is_the_mean_of_every_cells_own_kid() -> None:
    real, fake = scored(CELLS, 12, 1, owners_of=2), scored(CELLS, 8, 2, shown={CELLS[0]: CELLS[2]})
    own = [kid(real.of({cell}).image_set(NAME), fake.of({cell}).image_set(NAME), 1, seeded(0)).value for cell in CELLS]
    found = mean_cell_kid(real.image_set(NAME), fake.image_set(NAME), 50, seeded(0))
    assert found.value == pytest.approx(np.mean(own), rel=1e-12)
    assert found.draws is not None
    assert found.draws.shape == (50,)


def test_good_images_under_the_wrong_label_are_caught_which_pooled_kid_overlooks() -> None:
    real = scored(CELLS, 30, 1)
    honest = scored(CELLS, 30, 2)
    swapped = scored(CELLS, 30, 2, shown={CELLS[0]: CELLS[2], CELLS[2]: CELLS[0]})
    pooled = kid(real.image_set(NAME), swapped.image_set(NAME), 1, seeded(0)).value
    figures = [kid_figure(real, some, NAME, 200, ("key",)) for some in (honest, swapped)]
    assert figures[0].value is not None
    assert figures[1].value is not None
    assert figures[1].low is not None
    assert figures[0].high is not None
    assert abs(pooled) < 0.1
    assert abs(figures[0].value) < 0.1
    assert figures[1].low > figures[0].high


def test_subjects_are_drawn_with_their_images_of_every_cell() -> None:
    """Cells that hold the same images twice are no more certain than one of them."""
    real, fake = scored(CELLS[:1], 20, 1), scored(CELLS[:1], 20, 2)
    other = Cell.parse("Healthy:PD")
    double = [joined([some, passed_off(some, other)]) for some in (real, fake)]
    alone = mean_cell_kid(real.image_set(NAME), fake.image_set(NAME), 100, seeded(7))
    twice = mean_cell_kid(double[0].image_set(NAME), double[1].image_set(NAME), 100, seeded(7))
    assert twice.value == pytest.approx(alone.value)
    assert twice.draws == pytest.approx(alone.draws)


def test_without_two_subjects_in_a_cell_there_is_a_reason() -> None:
    real = scored(CELLS, 4, 1, owners_of=4)
    figure = kid_figure(real, scored(CELLS, 4, 2), NAME, 10, ())
    assert figure.reason == "KID needs images of two subjects on each side, in every cell"
    assert kid_figure(real.of({CELLS[0]}), scored(CELLS[1:], 4, 2), NAME, 10, ()).reason == (
        "no cell has images on both sides"
    )
