from __future__ import annotations

import numpy as np
import pytest
import torch

from mrigen.condition_classifier.classifier import train_classifier
from mrigen.condition_classifier.fidelity import Answers, ask, fidelity
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.accuracy import wilson
from tests.fake_classes import CELLS, counts, made_up, said

OVERALL = "All trained cells"
SHOWN = [cell for cell in all_cells() for _ in range(10)]
UNSEEN = Cell.parse("Dementia:T1ce")


def next_pathology(cell: Cell) -> Cell:
    return Cell(list(Pathology)[(cell.pathology.row + 1) % 4], cell.modality)


def test_images_that_show_what_was_asked_for_are_all_right() -> None:
    found = fidelity(said(SHOWN, SHOWN, owners_of=5), said(SHOWN, SHOWN), counts())
    for target in ("pathology", "modality"):
        made, real = found.rows[OVERALL][target], found.rows[OVERALL][f"{target}_real"]
        assert (made.value, made.n, real.value, real.n) == (1.0, 200, 1.0, 200)
        assert (made.low, made.high) == wilson(1.0, 200)
        assert (real.low, real.high) == wilson(1.0, 40)
    assert found.confusion["pathology"]["generated"] == (50 * np.eye(4, dtype=int)).tolist()
    assert found.confusion["modality"]["real"] == (40 * np.eye(5, dtype=int)).tolist()


def test_swapped_labels_are_caught() -> None:
    swapped = said(SHOWN, [next_pathology(cell) for cell in SHOWN])
    found = fidelity(said(SHOWN, SHOWN), swapped, counts())
    assert found.rows[OVERALL]["pathology"].value == 0.0
    assert found.rows[OVERALL]["modality"].value == 1.0
    assert found.rows["Healthy:T1w"]["pathology"].high == pytest.approx(wilson(0.0, 10)[1])
    assert found.rows[OVERALL]["pathology_real"].value == 1.0
    assert found.confusion["pathology"]["generated"][0] == [0, 50, 0, 0]


def test_a_cell_that_the_classifier_never_saw_has_a_reason_and_is_not_pooled() -> None:
    found = fidelity(
        said(SHOWN, SHOWN),
        said(SHOWN, [next_pathology(c) if c == UNSEEN else c for c in SHOWN]),
        counts(without=[UNSEEN]),
    )
    assert found.rows[str(UNSEEN)]["pathology"].reason == "the classifier saw no real training image of this cell"
    assert found.rows[str(UNSEEN)]["pathology"].n == 10
    assert found.rows[OVERALL]["pathology"].value == 1.0
    assert found.rows[OVERALL]["pathology"].n == 190


def test_sides_are_compared_over_the_cells_that_both_have() -> None:
    hard = [cell for cell in SHOWN if cell.modality == Modality.PD]
    easy = [cell for cell in SHOWN if cell.modality != Modality.PD]
    real = said(SHOWN, [next_pathology(cell) if cell in hard else cell for cell in SHOWN])
    found = fidelity(real, said(easy, easy), counts())
    assert found.rows[OVERALL]["pathology_real"].value == 1.0
    assert found.rows[OVERALL]["pathology_real"].n == len(easy)
    assert found.rows["PD"]["pathology"].reason == "no image of these cells"
    assert found.rows["PD"]["pathology_real"].value == 0.0


def test_untrained_cells_are_pooled_apart() -> None:
    made = said(SHOWN, [next_pathology(cell) if cell == UNSEEN else cell for cell in SHOWN])
    found = fidelity(said(SHOWN, SHOWN), made, counts(), untrained={UNSEEN})
    assert found.rows[OVERALL]["pathology"].value == 1.0
    assert found.rows["All untrained cells"]["pathology"].value == 0.0
    assert sum(map(sum, found.confusion["pathology"]["generated"])) == 190


@pytest.mark.parametrize(
    ("real", "known", "target", "reason"),
    [
        (
            said(SHOWN, [Cell.parse("HC:T1")] * 200),
            counts(),
            "modality",
            "the classifier takes every held-out real image for T1w",
        ),
        (
            said(SHOWN, SHOWN),
            dict.fromkeys(CELLS[:2], 9),
            "pathology",
            "the real training images are all of one pathology",
        ),
        (said([], []), counts(), "pathology_real", "no image of these cells"),
    ],
)
def test_a_classifier_that_knows_nothing_gives_no_figure(
    real: Answers, known: dict[Cell, int], target: str, reason: str
) -> None:
    found = fidelity(real, said(SHOWN, SHOWN), known)
    assert found.rows[OVERALL][target].reason == reason
    assert (target in found.confusion) == (target == "modality")  # of one class there is nothing to confuse


def test_images_that_are_not_finite_are_counted_and_take_the_figure_away() -> None:
    trained = train_classifier(
        [made_up(CELLS, 4, seed=1)], None, num_steps=2, generator=torch.Generator().manual_seed(0), flips=True
    )
    broken = made_up(CELLS, 6, seed=3)
    broken.pixels[0, 3, 3] = np.nan
    answers = ask(trained, broken)
    assert answers.num_broken == {CELLS[0]: 1}
    found = fidelity(said(SHOWN, SHOWN), answers, counts())
    assert found.rows[str(CELLS[0])]["pathology"].reason == "1 of 6 images hold values that are not finite"
    assert found.rows[OVERALL]["modality"].reason == "1 of 24 images hold values that are not finite"
    assert found.rows[str(CELLS[1])]["pathology"].value is not None


def test_confidence_that_is_not_earned_shows_in_the_calibration_error() -> None:
    half = [next_pathology(cell) if place % 2 else cell for place, cell in enumerate(SHOWN)]
    row = fidelity(said(SHOWN, SHOWN), said(SHOWN, half), counts()).rows[OVERALL]
    assert row["pathology_calibration"].value == pytest.approx(0.5, abs=0.06)
    assert row["pathology_real_calibration"].value == pytest.approx(0.0, abs=0.06)
    cell = fidelity(said(SHOWN, SHOWN), said(SHOWN, half), counts()).rows["Healthy:T1w"]
    assert cell["pathology_calibration"].reason == "a calibration error needs 50 images"
