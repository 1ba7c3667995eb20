"""What the page of an evaluation says of extrapolation: every answer for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.evaluation.extrapolation import ANSWERS, GENERATED, CellScore, Extrapolation
from mrigen.report.evaluation.extrapolation_words import LAZY, TITLES, extrapolation_verdict, has_figure, standing
from mrigen.report.figure_text import Notes


def extrapolation_section(found: Extrapolation, notes: Notes) -> dict[str, Any]:
    """As `extrapolation.html` takes it: the cells that the model never saw, those of them that there is nothing to say
    of, and the cells that it saw."""
    unseen, seen = ([score for score in found.scores if score.unseen is wanted] for wanted in (True, False))
    silent = [score for score in unseen if not has_figure(score, GENERATED)]
    return {
        "verdict": extrapolation_verdict(found),
        "titles": [*(f"KID, {name}" for name in found.extractors), *(f"Accuracy, {target}" for target in TARGETS)],
        "lead": found.extractors[0],
        "unseen": [_cell(score, found.extractors, notes) for score in unseen if score not in silent],
        "silent": _by_reason(silent, f"{found.extractors[0]}/kid"),
        "seen": [_cell(score, found.extractors, notes) for score in seen],
    }


def _cell(score: CellScore, extractors: tuple[str, ...], notes: Notes) -> dict[str, Any]:
    kids = [f"{name}/kid" for name in extractors]
    return {
        "name": str(score.cell),
        "unseen": score.unseen,
        "no_figure": _shared_reason(score, kids[0]),
        "answers": [
            {
                "title": TITLES[name],
                "stand_in": str(score.stand_ins[name] or "no such cell") if name in LAZY else None,
                "figures": [
                    {
                        **notes.shown(figure, score.figures[name][figure]),
                        "standing": standing(score, figure) if name == GENERATED and figure in kids else None,
                    }
                    for figure in (*kids, *TARGETS)
                ],
            }
            for name in ANSWERS
        ],
    }


def _by_reason(scores: Sequence[CellScore], figure: str) -> dict[str, list[str]]:
    """The cells whose generated images have no figure, by the reason."""
    cells: dict[str, list[str]] = {}
    for score in scores:
        cells.setdefault(score.figures[GENERATED][figure].reason or "", []).append(str(score.cell))
    return cells


def _shared_reason(score: CellScore, figure: str) -> str | None:
    """The reason why no answer at all has a figure, None where one can or where reasons differ."""
    reasons = {score.figures[name][figure].reason for name in ANSWERS}
    shared = reasons.pop() if len(reasons) == 1 else None
    return shared and shared[0].upper() + shared[1:]
