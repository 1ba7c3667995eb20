"""The condition classifier, asked of samples while they are made: do they show what was asked for?

A slice does not always show its pathology, so no sample has to be named right. It has to be as likely to be what was
asked for as real validation images of its cell are, all but the least likely of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax

from mrigen.condition_classifier.classifier import Trained, classify
from mrigen.errors import InputError
from mrigen.images.labelled import LabelledImages, modality_codes, pathology_codes
from mrigen.labels import Cell
from mrigen.metrics.resampling import Matrix
from mrigen.samples import Sample

REASON = "other labels"
REAL_REJECTED = 0.05
"""Share of the real images of a cell that lie below its limit."""
MIN_REAL = 20
"""Images of a cell without which it has no limit."""


def require_real(train: Mapping[Cell, int], val: Iterable[Cell], cells: Iterable[Cell]) -> None:
    """Raise InputError for one of `cells` with too few validation images, whose cells are `val`, to have a limit, or
    none to train on."""
    counts = Counter(val)
    for cell in cells:
        if counts[cell] < MIN_REAL or not train.get(cell):
            told = f"{cell} has {counts[cell]} validation images and {train.get(cell, 0)} to train on"
            raise InputError(f"--gates labels: {told}: {MIN_REAL} and 1 are needed; ask for other --cells")


def label_limits(trained: Trained, real: LabelledImages, cells: Sequence[Cell]) -> dict[Cell, float]:
    """The least log likelihood of samples of each cell, by real images that the classifier was not trained on.

    Raises InputError for a cell with too few of them, or that the classifier knows no image of.
    """
    real = real.finite()
    require_real(trained.counts, real.cells, cells)
    found = dict[Cell, list[float]]()
    for cell, value in zip(real.cells, _log_likelihood(trained, real.pixels, real.cells), strict=True):
        found.setdefault(cell, []).append(float(value))
    return {cell: float(np.quantile(found[cell], REAL_REJECTED, method="lower")) for cell in cells}


class LabelGate:
    """Rejects samples that are less likely to be of their cell than its limit."""

    def __init__(self, trained: Trained, limits: Mapping[Cell, float]) -> None:
        self._trained, self._limits = trained, limits

    def __call__(self, samples: Sequence[Sample]) -> list[str | None]:
        """Why each sample is rejected, None where it is not."""
        cells = [sample.request.cell for sample in samples]
        found = _log_likelihood(self._trained, np.stack([sample.image for sample in samples]), cells)
        return [REASON if value < self._limits[cell] else None for value, cell in zip(found, cells, strict=True)]


def _log_likelihood(trained: Trained, pixels: np.ndarray[Any, Any], cells: Sequence[Cell]) -> Matrix:
    """How likely images (N, *spatial) are of these pathologies and modalities, by the classifier, (N,)."""
    pathology, modality = (log_softmax(logits, axis=1) for logits in classify(trained.classifier, pixels))
    rows = np.arange(len(cells))
    total: Matrix = pathology[rows, pathology_codes(cells)] + modality[rows, modality_codes(cells)]
    return total
