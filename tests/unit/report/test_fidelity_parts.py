from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mrigen.condition_classifier.fidelity import FIGURES
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.fidelity import fidelity_section
from mrigen.report.figure_text import Notes
from mrigen.report.rendering import render
from tests.unit.report.report_fakes import Page, some_evaluation


def html_of(**changes: object) -> str:
    """The section without its plot."""
    evaluation = replace(some_evaluation(), **changes)  # type: ignore[arg-type]
    return render("evaluation/fidelity.html", fidelity=fidelity_section(evaluation, Notes()), accuracies=None)


def words_of(**changes: object) -> str:
    """As a browser shows it."""
    return " ".join(Page(html_of(**changes)).words.split())


def test_both_matrices_of_both_questions_stand_in_the_section() -> None:
    words = words_of()
    assert words.count("Held-out real images") == words.count("Generated images") == 2
    assert "asked for Healthy Glioblastoma Sclerosis Dementia Healthy 75 % 30 0 % 0 0 % 0 25 % 10" in words
    assert "true T1w T1ce T2w FLAIR PD T1w 100 % 20" in words


def test_shading_follows_the_share_of_the_row() -> None:
    html = html_of()
    shades = re.findall(r'<td class="(right|wrong)" style="--share:([0-9.]+)">', html)
    assert len(shades) == 2 * (4 * 4 + 5 * 5)
    assert shades[16:20] == [("right", "0.750"), ("wrong", "0.000"), ("wrong", "0.000"), ("wrong", "0.250")]


def test_a_class_without_images_has_a_dash_and_no_nan() -> None:
    nothing = {"pathology": {side: [[0] * 4] * 4 for side in ("real", "generated")}}
    words = words_of(confusion=nothing)
    assert words.count("–") == 2 * 16
    assert "nan" not in words


@pytest.mark.parametrize("name", ["pathology", "modality"])
def test_without_a_classifier_there_is_the_reason(name: str) -> None:
    missing = {f"fidelity/{name}": Figure.missing("no image of the training split") for name in FIGURES}
    evaluation = some_evaluation(missing)
    words = words_of(classifier=None, confusion={}, rows=evaluation.rows)
    assert "None: no image of the training split." in words
    assert f"What was taken for what: {name}" not in words
