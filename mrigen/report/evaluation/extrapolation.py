"""What is said of extrapolation: how the answers for a cell are called, how the generated images stand to the lazy
ones, what that comes to, and the section of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.evaluation.extrapolation import ANSWERS, FLOOR, GENERATED, HEALTHY, NEAREST, CellScore, Extrapolation
from mrigen.report.figure_text import Notes

LAZY = (HEALTHY, NEAREST)
TITLES = {
    GENERATED: "Generated images",
    FLOOR: "Real images of this cell",
    HEALTHY: "Same modality, healthy",
    NEAREST: "Same pathology, nearest modality",
}


def has_figure(score: CellScore, answer: str) -> bool:
    """Whether there is anything to say of an answer."""
    return any(figure.value is not None for figure in score.figures[answer].values())


@dataclass(frozen=True)
class Standing:
    """In words; `tone` is near where the generated images are clearly nearer to the truth than every lazy answer there
    is, far where they are not nearer, and empty where they are, but may be by chance."""

    words: str
    tone: Literal["near", "far", ""]


def standing(score: CellScore, figure: str) -> Standing | None:
    """How the generated images stand to the lazy answers by one figure; None where nothing can be compared."""
    beaten = {name: won for name in LAZY if (won := score.beats(name, figure)) is not None}
    if not beaten:
        return None
    if not all(beaten.values()):
        return Standing(
            "nearer than one lazy answer of two" if any(beaten.values()) else "nearer than no lazy answer", "far"
        )
    clearly = all(score.clearly_beats(name, figure) for name in beaten)
    which = "both lazy answers" if len(beaten) == len(LAZY) else "the one lazy answer"
    if clearly:
        return Standing(f"clearly nearer than {which}", "near")
    return Standing(f"nearer than {which}, but not with intervals apart", "")


def extrapolation_verdict(found: Extrapolation) -> str:
    """In a sentence, by KID of the leading extractor: how many unseen cells come nearer to the truth than both lazy
    answers."""
    unseen = [score for score in found.scores if score.unseen]
    if not unseen:
        return "No cell was held out of training, so nothing is extrapolated."
    figure = f"{found.extractors[0]}/kid"
    tried = [(score, [name for name in LAZY if score.beats(name, figure) is not None]) for score in unseen]
    compared = [(score, names) for score, names in tried if names]
    if not compared:
        return f"Of unseen cells ({len(unseen)}), none can be held against its truth: see the reasons."
    won = [(score, names) for score, names in compared if all(score.beats(name, figure) for name in names)]
    clear = sum(all(score.clearly_beats(name, figure) for name in names) for score, names in won)
    intervals = f" (with intervals apart in {clear})" if won else ""
    left = f"; {len(unseen) - len(compared)} more could not be judged" if len(compared) < len(unseen) else ""
    return (
        f"In {len(won)} of {len(compared)} unseen cells the generated images are nearer to the truth than every lazy "
        f"answer{intervals}, by KID of {found.extractors[0]}{left}."
    )


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
