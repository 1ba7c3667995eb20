"""How often answers are right: balanced accuracy with its interval, and the error of stated confidence."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri, softmax
from scipy.stats import binned_statistic
from scipy.stats.contingency import crosstab

from mrigen.metrics.resampling import LEVEL, Codes, Matrix, Weights, interval, owner_weights

Z = float(ndtri((1 + LEVEL) / 2))
"""The normal distribution's quantile at the upper end of an interval."""
NUM_BINS = 15


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share seen in `n` independent trials (Wilson 1927)."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def balanced_accuracy(correct: Weights, classes: Codes, cells: Codes, owners: Codes, weights: Weights) -> Weights:
    """The mean over classes of the share of right answers, (draws,), each owner weighted by `weights` (draws, owners).

    `correct` is 0 or 1 an image. Within a class every cell weighs the same, however many images it has. NaN for a
    draw that leaves a cell empty.
    """
    shares = []
    for one in np.unique(classes):
        of_class = []
        for cell in np.unique(cells[classes == one]):
            here = (cells == cell) & (classes == one)
            right = np.bincount(owners[here], correct[here], weights.shape[1])
            count = np.bincount(owners[here], minlength=weights.shape[1])
            with np.errstate(invalid="ignore", divide="ignore"):
                of_class.append((weights @ right) / (weights @ count))
        shares.append(np.mean(of_class, axis=0))
    return np.asarray(np.mean(shares, axis=0))


def accuracy_interval(
    correct: Weights,
    classes: Codes,
    cells: Codes,
    owners: Codes,
    strata: Codes,
    num_draws: int,
    generator: np.random.Generator,
) -> tuple[float, float] | None:
    """Of the balanced accuracy: owners are drawn anew within their strata. None where they are too few.

    Where every answer is right, or every one wrong, all draws agree, and the interval is Wilson's for as many trials
    as there are owners.
    """
    if correct.min() == correct.max():
        return wilson(float(correct[0]), int(owners.max()) + 1)
    weights = owner_weights(owners, strata, num_draws, generator)
    return None if weights is None else interval(balanced_accuracy(correct, classes, cells, owners, weights))


def calibration_error(logits: Matrix, labels: Codes, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error (Guo et al. 2017, eq. 3): how far the stated confidence of the answers lies from
    the share of them that is right, in bins of equal width, weighted by their images."""
    stated = softmax(logits, axis=1)
    confidence, right = stated.max(axis=1), stated.argmax(axis=1) == labels
    gaps = binned_statistic(confidence, right - confidence, "sum", num_bins, (0.0, 1.0)).statistic
    return float(np.abs(gaps).sum() / len(labels))


def confusion(answers: Codes, labels: Codes, num_classes: int) -> list[list[int]]:
    """Counts of images by what they are (rows) and what they were taken for (columns)."""
    counts: list[list[int]] = crosstab(labels, answers, levels=(range(num_classes),) * 2).count.tolist()
    return counts
