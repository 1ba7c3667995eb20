"""The mean of a figure over readers who all read the same cases, with readers and cases as random.

A figure of one reader, such as an ROC area or a share of right answers, has an error from the cases, which readers
share, and differs from reader to reader besides. The model is that of Obuchowski and Rockette (Commun Stat B 24:285,
1995), for one modality, with the degrees of freedom of Hillis (Stat Med 26:596, 2007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mrigen.metrics.figure import Figure
from mrigen.metrics.resampling import LEVEL, Codes, Matrix, Weights


@dataclass(frozen=True)
class ReadersMean:
    """A mean over readers, its standard error, and the degrees of freedom of that."""

    value: float
    error: float
    freedom: float = math.inf

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """By Student's t; None where nothing varied, for that says nothing of the error."""
        if not self.error > 0:
            return None
        half = self.error * float(stats.t.ppf((1 + level) / 2, self.freedom))
        return self.value - half, self.value + half

    def p_value(self, null: float) -> float | None:
        """That of the two-sided test against a value; None where nothing varied."""
        if not self.error > 0:
            return None
        return float(2 * stats.t.sf(abs(self.value - null) / self.error, self.freedom))

    def equivalence_p(self, null: float, margin: float) -> float | None:
        """That of two one-sided tests (TOST; Schuirmann 1987) of a difference from `null` of `margin` or more; a small
        one says that the difference is smaller. None where nothing varied."""
        if not self.error > 0:
            return None
        return float(stats.t.sf((margin - abs(self.value - null)) / self.error, self.freedom))

    def figure(self, n: int, null: float | None = None, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Figure:
        """With the interval, cut off at `bounds`, and the test against `null` where one is given."""
        ends = self.interval()
        low, high = bounds
        cut = None if ends is None else (min(max(ends[0], low), high), max(min(ends[1], high), low))
        figure = Figure.of(self.value, n, cut)
        return figure if null is None else figure.tested(self.p_value(null))


def over_readers(values: Weights, covariance: Matrix) -> ReadersMean:
    """The mean of the readers' figures (J,); `covariance` (J, J) is that of their errors from the cases alone.

    With one reader it holds for that one. The error is never smaller than that for these readers as they are, which few
    readers who happen to agree would give.
    """
    count = len(values)
    if count == 1:
        return ReadersMean(float(values[0]), math.sqrt(covariance[0, 0]))
    shared = max(float(covariance[~np.eye(count, dtype=bool)].mean()), 0.0)
    between = float(np.var(values, ddof=1))
    spread = max(between + count * shared, float(covariance.diagonal().mean()) + (count - 1) * shared)
    freedom = (count - 1) * (spread / between) ** 2 if between > 0 else math.inf
    return ReadersMean(float(values.mean()), math.sqrt(spread / count), freedom)


def mean_covariance(components: Matrix, owners: Codes) -> Matrix:
    """The covariance (J, J) of the means over cases of `components` (J, cases), whose cases of one owner are alike.

    Where every case has an owner of its own, the covariance of the components over their number. NaN for one owner.
    """
    apart = components - components.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(owners, weights=row) for row in apart])
    count = sums.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Matrix = sums @ sums.T * np.divide(count, count - 1) / components.shape[1] ** 2
    return found
