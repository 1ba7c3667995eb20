"""Intensities of each cell before and after scaling, counted in bins that are the same for every part of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrigen.labels import Cell

BINS_BEFORE = np.logspace(-2, 6, 81)
"""Edges for intensities as they are in the files, which differ by orders of magnitude between scanners."""
BINS_AFTER = np.linspace(-1, 1, 65)

_EDGES = {"before": BINS_BEFORE, "after": BINS_AFTER}

Counts = NDArray[np.int64]


class Histograms:
    """Two histograms a cell. Values beyond the edges count in the bins at the ends."""

    def __init__(self) -> None:
        self.counts: dict[Cell, dict[str, Counts]] = defaultdict(
            lambda: {name: np.zeros(len(edges) - 1, np.int64) for name, edges in _EDGES.items()}
        )

    def add(self, cell: Cell, before: NDArray[np.float32], after: NDArray[np.float32]) -> None:
        """Count the intensities of one scan."""
        for name, values in (("before", before), ("after", after)):
            edges = _EDGES[name]
            self.counts[cell][name] += np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]

    def add_json(self, tree: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
        """Count what another has counted."""
        for cell, counts in tree.items():
            for name, values in counts.items():
                self.counts[Cell.parse(cell)][name] += np.asarray(values, np.int64)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Cell -> `before` and `after` -> counts."""
        return {
            str(cell): {name: values.tolist() for name, values in counts.items()}
            for cell, counts in sorted(self.counts.items())
        }
