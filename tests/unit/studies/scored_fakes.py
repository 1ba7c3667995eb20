"""Made-up features that are a sum of what the pathology and what the modality adds, as a perfect model composes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrigen.evaluation.answered_images import ScoredImages
from mrigen.labels import Cell
from tests.fake_classes import said

WIDTH = 9
NAME = "made-up"


def scored(
    cells: Sequence[Cell], per_cell: int, seed: int, *, shown: dict[Cell, Cell] | None = None, owners_of: int = 1
) -> ScoredImages:
    """`per_cell` images labelled as each cell; those of a cell in `shown` look like another one."""
    generator = np.random.default_rng(seed)
    labels = [cell for cell in cells for _ in range(per_cell)]
    looks = [(shown or {}).get(cell, cell) for cell in labels]
    features = generator.normal(0, 0.3, (len(labels), WIDTH))
    for place, cell in enumerate(looks):
        features[place, cell.pathology.row] += 2.0
        features[place, 4 + cell.modality.row] += 2.0 - 0.2 * cell.modality.row
    return ScoredImages({NAME: features.astype(np.float32)}, said(labels, looks, owners_of=owners_of))
