"""Images of made-up classes that a small network tells apart within seconds: for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrigen.condition_classifier.fidelity import Answers
from mrigen.images.labelled import LabelledImages
from mrigen.labels import Cell, all_cells

SIDE = 16
CELLS = tuple(Cell.parse(name) for name in ("Healthy:T1w", "Healthy:T2w", "Sclerosis:T1w", "Sclerosis:T2w"))


def made_up(cells: Sequence[Cell], per_cell: int, seed: int, *, shuffled: bool = False) -> LabelledImages:
    """Noise with a pattern for the pathology (stripes of its own width) on a level for the modality.

    Two images of a cell are of one owner. `shuffled` deals the labels out anew, so that they mean nothing.
    """
    generator = np.random.default_rng(seed)
    labels = [cell for cell in cells for _ in range(per_cell)]
    rows = np.arange(SIDE)[:, None]
    pixels = []
    for cell in labels:
        stripes = np.sign(np.sin(2 * np.pi * rows * (cell.pathology.row + 1) / SIDE + generator.uniform(0, 2 * np.pi)))
        level = -0.5 + 0.25 * cell.modality.row
        pixels.append(np.clip(level + 0.2 * stripes + generator.normal(0, 0.1, (SIDE, SIDE)), -1, 1))
    if shuffled:
        labels = [labels[place] for place in generator.permutation(len(labels))]
    owners = tuple(f"{seed}-{place // 2}" for place in range(len(labels)))
    return LabelledImages(np.array(pixels, np.float16), tuple(labels), owners)


def said(cells: Sequence[Cell], named: Sequence[Cell], *, owners_of: int = 1, sure: float = 4.0) -> Answers:
    """Answers that name `named` on images of `cells`; each owner has `owners_of` images in a row."""
    return Answers(
        sure * np.eye(4)[[cell.pathology.row for cell in named]],
        sure * np.eye(5)[[cell.modality.row for cell in named]],
        tuple(cells),
        tuple(f"s{place // owners_of}" for place in range(len(cells))),
        {},
    )


def counts(per_cell: int = 10, without: Sequence[Cell] = ()) -> dict[Cell, int]:
    """Training images of every cell but some."""
    return {cell: per_cell for cell in all_cells() if cell not in without}
