"""Histograms of intensities: every value counts once, and parts add up."""

from __future__ import annotations

import json

import numpy as np

from mrigen.labels import Cell
from mrigen.prepare.histograms import BINS_AFTER, BINS_BEFORE, Histograms

CELL, OTHER = Cell.parse("Healthy:T1w"), Cell.parse("Sclerosis:PD")


def test_every_value_counts_once_whatever_its_size() -> None:
    histograms = Histograms()
    histograms.add(CELL, np.array([-5, 0, 1e-9, 1, 1000, 1e9], np.float32), np.array([-1, 0, 1], np.float32))
    before, after = histograms.counts[CELL]["before"], histograms.counts[CELL]["after"]
    assert (before.sum(), after.sum()) == (6, 3)
    assert before[0] == 3
    assert before[np.searchsorted(BINS_BEFORE, 1000, side="right") - 1] == 1
    assert [int(np.searchsorted(BINS_AFTER, value)) for value in (-1, 1)] == [0, 64]
    assert (after[0], after[32], after[-1]) == (1, 1, 1)


def test_parts_add_up_through_json() -> None:
    rng = np.random.default_rng(0)
    whole, sums = Histograms(), Histograms()
    for cell in (CELL, OTHER, CELL):
        values = rng.lognormal(5, 1, 100).astype(np.float32)
        part = Histograms()
        for histograms in (whole, part):
            histograms.add(cell, values, values / values.max())
        sums.add_json(json.loads(json.dumps(part.as_json())))
    assert sums.as_json() == whole.as_json()
