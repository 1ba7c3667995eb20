from __future__ import annotations

import pytest

from mrigen.evaluation.answered_images import ScoredImages
from mrigen.evaluation.extrapolation import (
    FLOOR,
    GENERATED,
    HEALTHY,
    NEAREST,
    CellScore,
    Extrapolation,
    extrapolate,
    lazy_healthy,
    lazy_nearest,
)
from mrigen.labels import Cell, Pathology, all_cells
from mrigen.report.evaluation.extrapolation import extrapolation_verdict
from tests.fake_classes import counts
from tests.unit.studies.scored_fakes import NAME, scored

UNSEEN = Cell.parse("Sclerosis:PD")
KID = f"{NAME}/kid"
CELLS = all_cells()
TRUTH = scored(CELLS, 20, 1, owners_of=2)
TRAINING = scored(CELLS, 20, 2, owners_of=2)


def study(generated: ScoredImages, *, truth: ScoredImages = TRUTH, training: ScoredImages = TRAINING) -> Extrapolation:
    return extrapolate(truth, generated, training, {UNSEEN}, counts(), num_bootstraps=100)


def unseen(found: Extrapolation) -> CellScore:
    return next(score for score in found.scores if score.cell == UNSEEN)


def value(score: CellScore, answer: str, figure: str) -> float:
    found = score.figures[answer][figure].value
    assert found is not None
    return found


def test_a_model_that_composes_beats_both_lazy_answers() -> None:
    found = study(scored(CELLS, 20, 3))
    score = unseen(found)
    assert score.unseen
    assert value(score, GENERATED, KID) == pytest.approx(0.0, abs=0.1)
    assert value(score, FLOOR, KID) == pytest.approx(0.0, abs=0.1)
    for lazy in (HEALTHY, NEAREST):
        assert value(score, lazy, KID) > 1.0
        assert score.beats(lazy, KID) is True
    assert [value(score, HEALTHY, name) for name in ("pathology", "modality")] == [0.0, 1.0]
    assert [value(score, NEAREST, name) for name in ("pathology", "modality")] == [1.0, 0.0]
    assert [value(score, GENERATED, name) for name in ("pathology", "modality")] == [1.0, 1.0]
    assert extrapolation_verdict(found).startswith("In 1 of 1 unseen cells the generated images")
    assert "every lazy answer (with intervals apart in 1), by KID" in extrapolation_verdict(found)
    assert len(found.scores) == 20
    assert sum(not score.unseen for score in found.scores) == 19


def test_a_model_that_answers_lazily_scores_as_the_lazy_answer() -> None:
    found = study(scored(CELLS, 20, 3, shown={UNSEEN: Cell(Pathology.HEALTHY, UNSEEN.modality)}))
    score = unseen(found)
    assert value(score, GENERATED, KID) == pytest.approx(value(score, HEALTHY, KID), rel=0.2)
    assert value(score, GENERATED, "pathology") == 0.0
    assert score.beats(NEAREST, KID) is False


def test_the_best_to_ask_of_accuracy_is_that_on_held_out_images() -> None:
    found = study(scored(CELLS, 20, 3), truth=scored(CELLS, 20, 1, shown={UNSEEN: Cell.parse("Healthy:PD")}))
    assert value(unseen(found), FLOOR, "pathology") == 0.0
    assert value(unseen(found), GENERATED, "pathology") == 1.0


def test_a_cell_without_truth_says_so() -> None:
    found = study(scored(CELLS, 20, 3), truth=TRUTH.of({cell for cell in CELLS if cell != UNSEEN}))
    for answer in (GENERATED, HEALTHY, NEAREST):
        assert unseen(found).figures[answer][KID].reason == "no truth: no held-out real image of this cell"
    assert extrapolation_verdict(found) == "Of unseen cells (1), none can be held against its truth: see the reasons."


def test_what_is_missing_has_a_reason() -> None:
    without = TRAINING.of({cell for cell in CELLS if cell != Cell(Pathology.HEALTHY, UNSEEN.modality)})
    found = study(scored([cell for cell in CELLS if cell != UNSEEN], 5, 3), training=without)
    score = unseen(found)
    assert score.stand_ins[HEALTHY] is None
    assert score.figures[HEALTHY][KID].reason == "no such image"
    assert score.figures[GENERATED]["pathology"].reason == "no such image"
    seen = next(score for score in found.scores if score.cell != UNSEEN)
    assert seen.figures[GENERATED][KID].reason == "a comparison needs 10 images on each side, here are 20 real and 5"


def test_a_classifier_that_never_saw_the_cell_has_no_word_in_it() -> None:
    found = extrapolate(TRUTH, scored(CELLS, 20, 3), TRAINING, {UNSEEN}, counts(without=[UNSEEN]), num_bootstraps=50)
    figure = unseen(found).figures[GENERATED]["pathology"]
    assert figure.reason == "the classifier saw no real training image of this cell"


def test_the_stand_ins_are_trained_cells_and_never_the_cell_itself() -> None:
    trained = TRAINING.of({cell for cell in CELLS if cell != UNSEEN})
    assert lazy_healthy(UNSEEN, trained.cells) == Cell.parse("Healthy:PD")
    assert lazy_healthy(Cell.parse("Healthy:PD"), trained.cells) is None
    # The made-up modalities add less and less, so the last but one is nearest to PD.
    assert lazy_nearest(UNSEEN, trained, NAME) == Cell.parse("Sclerosis:FLAIR")
    assert lazy_nearest(UNSEEN, trained.of({Cell.parse("Sclerosis:T1w")}), NAME) is None


def test_the_nearest_modality_is_found_without_a_look_at_the_cell() -> None:
    odd = scored(CELLS, 20, 2, shown={UNSEEN: Cell.parse("Sclerosis:T1w")})
    assert lazy_nearest(UNSEEN, odd, NAME) == Cell.parse("Sclerosis:FLAIR")
