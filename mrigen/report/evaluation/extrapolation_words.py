"""How the answers for a cell are called, how the generated images stand to the lazy ones, and what that comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrigen.evaluation.extrapolation import FLOOR, GENERATED, HEALTHY, NEAREST, CellScore, Extrapolation

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
