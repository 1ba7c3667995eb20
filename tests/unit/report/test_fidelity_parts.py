from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mrigen.condition_classifier.fidelity import FIGURES
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.fidelity import classifier_sentence, fidelity_section
from mrigen.report.figure_text import Notes
from mrigen.report.rendering import render
from tests.unit.report.report_fakes import Page, some_classifier, some_evaluation


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


def test_generated_stands_beside_real() -> None:
    figures = {f"fidelity/{name}": Figure.of(0.5 + place / 100, 17) for place, name in enumerate(FIGURES)}
    section = fidelity_section(some_evaluation(figures), Notes())
    assert section["pooled"]["titles"][:2] == ["Accuracy of pathology, generated", "Accuracy of pathology, real"]
    shown = section["pooled"]["rows"][0]["figures"]
    by_name = {name: f"{0.5 + place / 100:.3f}" for place, name in enumerate(FIGURES)}
    assert [figure["text"] for figure in shown[:4]] == [
        by_name[name] for name in ("pathology", "pathology_real", "modality", "modality_real")
    ]
    assert (shown[5]["text"], shown[5]["real"]["text"]) == (
        by_name["modality_calibration"],
        by_name["modality_real_calibration"],
    )
    assert len(section["pooled"]["rows"]) == 11
    assert len(section["cells"]["rows"]) == 20


def test_what_the_classifier_learned_from_is_said() -> None:
    classifier = some_classifier()
    sure = "The classifier was trained on 796 real images of 19 cells (40 to 44 each) and calibrated"
    temperatures = "temperature 1.25 for pathology and 0.50 for modality."
    assert classifier_sentence(classifier) == f"{sure} on the validation split: {temperatures}"
    assert classifier_sentence({**classifier, "counts": {"Healthy:T1w": 7, "Healthy:PD": 7}, "checks": []}) == (
        "The classifier was trained on 14 real images of 2 cells (7 each); there were no validation images to "
        "calibrate it by."
    )
    assert sure in words_of()


@pytest.mark.parametrize("name", ["pathology", "modality"])
def test_without_a_classifier_there_is_the_reason(name: str) -> None:
    missing = {f"fidelity/{name}": Figure.missing("no image of the training split") for name in FIGURES}
    evaluation = some_evaluation(missing)
    words = words_of(classifier=None, confusion={}, rows=evaluation.rows)
    assert "None: no image of the training split." in words
    assert f"What was taken for what: {name}" not in words
