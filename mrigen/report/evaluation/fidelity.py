"""What the page of an evaluation says of condition fidelity: accuracies, and who was taken for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrigen.condition_classifier.fidelity import CLASSES, SIDES, TARGETS
from mrigen.evaluation.summary import FIDELITY, Evaluation
from mrigen.images.scopes import ScopeKind
from mrigen.report.evaluation.tables import WIDE, Column, figure_table
from mrigen.report.figure_text import Notes

_ACCURACY = [
    Column(f"Accuracy of {target}, {side}", f"{FIDELITY}/{target}{suffix}")
    for target in TARGETS
    for side, suffix in zip(("generated", "real"), SIDES, strict=True)
]
_CALIBRATION = [
    Column(
        f"Calibration error of {target}", f"{FIDELITY}/{target}_calibration", f"{FIDELITY}/{target}_real_calibration"
    )
    for target in TARGETS
]
_COLUMNS = [*_ACCURACY, *_CALIBRATION]
_MATRICES = {"real": ("Held-out real images", "true"), "generated": ("Generated images", "asked for")}
"""Titles, and what their rows are."""


def fidelity_section(evaluation: Evaluation, notes: Notes) -> dict[str, Any]:
    """As `fidelity.html` takes it; `reason` says why there is nothing to show."""
    if evaluation.classifier is None:
        return {"reason": evaluation.rows[0].figures[f"{FIDELITY}/{TARGETS[0]}"].reason}
    return {
        "reason": None,
        "training": classifier_sentence(evaluation.classifier),
        "pooled": figure_table(evaluation.of_kind(*WIDE), _COLUMNS, notes),
        "cells": figure_table(evaluation.of_kind(ScopeKind.CELL), _COLUMNS, notes),
        "confusion": [
            {
                "target": target,
                "classes": CLASSES[target],
                "sides": [
                    {"title": title, "corner": corner, "counts": matrices[side]}
                    for side, (title, corner) in _MATRICES.items()
                ],
            }
            for target, matrices in evaluation.confusion.items()
        ],
    }


def classifier_sentence(training: Mapping[str, Any]) -> str:
    """What the classifier was trained and calibrated on, in a sentence."""
    counts = [count for count in training["counts"].values() if count]
    each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    start = f"The classifier was trained on {sum(counts)} real images of {len(counts)} cells ({each} each)"
    if not training["checks"]:
        return f"{start}; there were no validation images to calibrate it by."
    temperatures = training["temperatures"]
    fitted = " and ".join(f"{temperatures[target]:.2f} for {target}" for target in TARGETS)
    return f"{start} and calibrated on the validation split: temperature {fitted}."
