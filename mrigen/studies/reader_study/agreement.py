"""How far readers agree, with each other and with themselves: kappas, of any weights of the cases."""

from __future__ import annotations

import numpy as np

from mrigen.metrics.resampling import Codes, Matrix, Weights


def cohen_kappa(first: Codes, second: Codes, weights: Matrix) -> Weights:
    """Cohen's kappa (1960) of two answers (cases,) to each case, (draws,), for `weights` (draws, cases).

    NaN where all answers are the same: then chance alone would agree.
    """
    total = weights.sum(axis=1)
    chance = np.zeros(len(weights))
    for answer in np.union1d(first, second):
        chance += (weights @ (first == answer)) * (weights @ (second == answer)) / total**2
    return _beyond_chance((weights @ (first == second)) / total, chance)


def fleiss_kappa(answers: Codes, weights: Matrix) -> Weights:
    """Fleiss' kappa (Psychol Bull 76:378, 1971) of the `answers` (readers, cases) of two readers or more, (draws,), for
    `weights` (draws, cases). NaN where all answers are the same."""
    readers, total = len(answers), weights.sum(axis=1)
    agreeing, chance = np.zeros(answers.shape[1]), np.zeros(len(weights))
    for answer in np.unique(answers):
        count = (answers == answer).sum(axis=0)
        agreeing += count * (count - 1) / (readers * (readers - 1))
        chance += ((weights @ count) / (total * readers)) ** 2
    return _beyond_chance((weights @ agreeing) / total, chance)


def _beyond_chance(observed: Weights, chance: Weights) -> Weights:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1 - 1e-12, (observed - chance) / (1 - chance), np.nan)
