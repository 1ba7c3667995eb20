"""Cells that were held out of training: are their generated images nearer to the truth than a lazy answer would be?

The truth of a cell is its held-out real images; the phantom has them for every cell, real data seldom does. A lazy
answer is a set of real training images passed off as the cell: those of the same modality in healthy subjects, or
those of the same pathology in the modality that looks most alike. A model that composes its labels beats both.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrigen.condition_classifier.fidelity import accuracy
from mrigen.evaluation.answered_images import ScoredImages, kid_figure
from mrigen.images.scopes import Scope, ScopeKind
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.comparison import MIN_IMAGES
from mrigen.metrics.figure import Figure, figures_json, not_finite

GENERATED, FLOOR, HEALTHY, NEAREST = "generated", "real", "same_modality_healthy", "same_pathology_nearest_modality"
ANSWERS = (GENERATED, FLOOR, HEALTHY, NEAREST)
"""Generated images; real ones of the cell itself, as the floor (KID of training images, where there are any, and
accuracy on held-out ones); two lazy answers."""


@dataclass(frozen=True)
class CellScore:
    """One cell: figures (`EXTRACTOR/kid`, `pathology`, `modality`) of each answer, and what stands in for the cell in
    the lazy ones, None where nothing can."""

    cell: Cell
    unseen: bool
    stand_ins: Mapping[str, Cell | None]
    figures: Mapping[str, Mapping[str, Figure]]

    def beats(self, answer: str, figure: str) -> bool | None:
        """Whether the generated images score nearer to the truth than `answer` by KID; None where either lacks one."""
        made, lazy = self.figures[GENERATED][figure].value, self.figures[answer][figure].value
        return None if made is None or lazy is None else made < lazy

    def clearly_beats(self, answer: str, figure: str) -> bool:
        """Whether they do so with intervals apart."""
        made, lazy = self.figures[GENERATED][figure], self.figures[answer][figure]
        return made.high is not None and lazy.low is not None and made.high < lazy.low


@dataclass(frozen=True)
class Extrapolation:
    """All cells that have generated images or were held out, and the extractors, the leading one first."""

    scores: tuple[CellScore, ...]
    extractors: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """`{"extractors", "cells": [{"cell", "unseen", "stand_ins", "answers": {answer: {figure: {...}}}}]}`."""
        return {
            "extractors": list(self.extractors),
            "cells": [
                {
                    "cell": str(score.cell),
                    "unseen": score.unseen,
                    "stand_ins": {name: str(cell) if cell else None for name, cell in score.stand_ins.items()},
                    "answers": {answer: figures_json(figures) for answer, figures in score.figures.items()},
                }
                for score in self.scores
            ],
        }


def extrapolate(
    truth: ScoredImages,
    generated: ScoredImages,
    training: ScoredImages,
    unseen: Set[Cell],
    counts: Mapping[Cell, int],
    *,
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> Extrapolation:
    """Score every cell. `truth` are held-out real images, `training` those of the training split; `counts` are the
    real images of every cell that the condition classifier was trained on."""
    extractors = tuple(truth.features)
    seen_training = training.of({cell for cell in training.cells if cell not in unseen})
    scores = []
    for cell in all_cells():
        if cell not in unseen and cell not in generated.cells:
            continue
        stand_ins = {
            HEALTHY: lazy_healthy(cell, seen_training.cells),
            NEAREST: lazy_nearest(cell, seen_training, extractors[0]),
        }
        answers = {
            GENERATED: generated.of({cell}),
            FLOOR: training.of({cell}),
            **{name: seen_training.of({other} if other else set()) for name, other in stand_ins.items()},
        }
        real = truth.of({cell})
        figures: dict[str, dict[str, Figure]] = {
            name: _figures(cell, real, passed_off(some, cell), extractors, counts, num_bootstraps, (seed, cell, name))
            for name, some in answers.items()
        }
        # The classifier knows the training images by heart: what it can be asked for shows on held-out ones.
        held_out = _figures(cell, real, real, (), counts, num_bootstraps, (seed, cell))
        figures[FLOOR] |= held_out
        scores.append(CellScore(cell, cell in unseen, stand_ins, figures))
    return Extrapolation(tuple(scores), extractors)


def lazy_healthy(cell: Cell, trained: Set[Cell]) -> Cell | None:
    """The same modality in healthy subjects, None where it is the cell itself or not in training."""
    other = Cell(Pathology.HEALTHY, cell.modality)
    return other if other != cell and other in trained else None


def lazy_nearest(cell: Cell, training: ScoredImages, extractor: str) -> Cell | None:
    """The same pathology in the trained modality that looks most like the cell's, None where there is none.

    Likeness is the distance between the mean features of two modalities, averaged over the other pathologies that
    have both: of the cell itself nothing is known.
    """
    means = {
        other: training.of({other}).features[extractor].astype(np.float64).mean(axis=0) for other in training.cells
    }
    found: list[tuple[float, Cell]] = []
    for modality in Modality:
        candidate = Cell(cell.pathology, modality)
        if modality == cell.modality or candidate not in means:
            continue
        apart = [
            float(np.linalg.norm(means[Cell(p, modality)] - means[Cell(p, cell.modality)]))
            for p in Pathology
            if p != cell.pathology and Cell(p, modality) in means and Cell(p, cell.modality) in means
        ]
        if apart:
            found.append((float(np.mean(apart)), candidate))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def passed_off(images: ScoredImages, cell: Cell) -> ScoredImages:
    """The same images under the label of another cell."""
    return replace(images, answers=replace(images.answers, cells=(cell,) * len(images)))


def _figures(
    cell: Cell,
    real: ScoredImages,
    some: ScoredImages,
    extractors: tuple[str, ...],
    counts: Mapping[Cell, int],
    num_bootstraps: int,
    key: tuple[object, ...],
) -> dict[str, Figure]:
    figures = {}
    for extractor in extractors:
        if reason := _no_comparison(real, some):
            figures[f"{extractor}/kid"] = Figure.missing(reason, len(some))
        else:
            figures[f"{extractor}/kid"] = kid_figure(real, some, extractor, num_bootstraps, key)
    for target in ("pathology", "modality"):
        if not len(some):
            figures[target] = Figure.missing("no such image", 0)
        elif not counts.get(cell):
            figures[target] = Figure.missing("the classifier saw no real training image of this cell", len(some))
        else:
            figures[target] = accuracy(some.answers, Scope(str(cell), ScopeKind.CELL, (cell,)), target, num_bootstraps)
    return figures


def _no_comparison(real: ScoredImages, some: ScoredImages) -> str | None:
    if broken := sum(sum(images.answers.num_broken.values()) for images in (real, some)):
        return not_finite(broken, len(real) + len(some) + broken)
    if not len(real):
        return "no truth: no held-out real image of this cell"
    if not len(some):
        return "no such image"
    if min(len(real), len(some)) < MIN_IMAGES:
        return f"a comparison needs {MIN_IMAGES} images on each side, here are {len(real)} real and {len(some)}"
    return None
