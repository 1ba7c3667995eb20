from __future__ import annotations

from dataclasses import replace

import pytest

from mrigen.evaluation.extrapolation import FLOOR, GENERATED, HEALTHY, NEAREST, Extrapolation
from mrigen.labels import Cell
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.extrapolation import extrapolation_section, standing
from mrigen.report.figure_text import Notes
from mrigen.report.rendering import render
from tests.unit.report.report_fakes import (
    LEAD,
    UNTRAINED,
    Page,
    cell_score,
    some_extrapolation,
)

NO_TRUTH = "no truth: no held-out real image of this cell"


def html_of(found: Extrapolation) -> str:
    """The section without its plot."""
    return render("evaluation/extrapolation.html", extrapolation=extrapolation_section(found, Notes()), answers=None)


def words_of(found: Extrapolation) -> str:
    """As a browser shows it."""
    return " ".join(Page(html_of(found)).words.split())


@pytest.mark.parametrize(
    ("kids", "words", "tone"),
    [
        ({GENERATED: 0.1, HEALTHY: 0.5, NEAREST: 0.9}, "clearly nearer than both lazy answers", "near"),
        (
            {GENERATED: 0.45, HEALTHY: 0.5, NEAREST: 0.9},
            "nearer than both lazy answers, but not with intervals apart",
            "",
        ),
        ({GENERATED: 0.6, HEALTHY: 0.5, NEAREST: 0.9}, "nearer than one lazy answer of two", "far"),
        ({GENERATED: 1.0, HEALTHY: 0.5, NEAREST: 0.9}, "nearer than no lazy answer", "far"),
        ({GENERATED: 0.1, NEAREST: 0.9}, "clearly nearer than the one lazy answer", "near"),
        ({GENERATED: 1.0, NEAREST: 0.9}, "nearer than no lazy answer", "far"),
    ],
)
def test_how_generated_images_stand_to_the_lazy_answers(kids: dict[str, float], words: str, tone: str) -> None:
    found = standing(cell_score(UNTRAINED, kids), f"{LEAD}/kid")
    assert found is not None
    assert (found.words, found.tone) == (words, tone)


@pytest.mark.parametrize("kids", [{}, {GENERATED: 0.1}, {GENERATED: 0.1, FLOOR: 0.0}, {HEALTHY: 0.1, NEAREST: 0.2}])
def test_nothing_is_said_of_what_cannot_be_compared(kids: dict[str, float]) -> None:
    assert standing(cell_score(UNTRAINED, kids), f"{LEAD}/kid") is None


def test_unseen_cells_come_first_and_seen_ones_are_folded() -> None:
    section = extrapolation_section(some_extrapolation(), Notes())
    assert [cell["name"] for cell in section["unseen"]] == ["Sclerosis:PD", "Dementia:T1ce", "Glioblastoma:PD"]
    assert [cell["name"] for cell in section["seen"]] == ["Sclerosis:T1w"]
    part = html_of(some_extrapolation())
    folded = part[part.index("<details><summary>Cells that were seen in training: 1") :]
    assert "<h4>Sclerosis:T1w</h4>" in folded[: folded.index("</details>")]
    assert part.index("Glioblastoma:PD&nbsp;*") < part.index("<details>")


def test_a_cell_without_truth_says_so_and_keeps_its_accuracies() -> None:
    section = extrapolation_section(some_extrapolation(), Notes())
    assert [cell["no_figure"] for cell in section["unseen"]] == [None, None, NO_TRUTH.capitalize()]
    assert "Glioblastoma:PD * No truth: no held-out real image of this cell." in words_of(some_extrapolation())
    generated = section["unseen"][2]["answers"][0]["figures"]
    assert [figure["text"] for figure in generated] == [None, None, "0.900", "0.900"]


def test_cells_that_nothing_can_be_said_of_are_only_listed() -> None:
    missing = {
        f"{LEAD}/kid": Figure.missing(NO_TRUTH),
        "pathology": Figure.missing("x"),
        "modality": Figure.missing("y"),
    }
    score = cell_score(UNTRAINED, {})
    silent = replace(score, figures=dict.fromkeys(score.figures, missing))
    found = Extrapolation((silent, replace(silent, cell=Cell.parse("Dementia:PD"))), (LEAD,))
    words = words_of(found)
    assert f"not judged ({NO_TRUTH}): Sclerosis:PD, Dementia:PD." in words
    assert "Shown as this cell" not in words
    assert extrapolation_section(some_extrapolation(), Notes())["silent"] == {}
