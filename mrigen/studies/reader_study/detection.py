"""How well readers tell synthetic images from real ones: shares of right answers, d', criterion, and ROC area.

All take answers as (readers, cases) and give the readers' figures with the covariance of their errors from the cases,
as `over_readers` needs them. A synthetic image is what is to be detected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from mrigen.metrics.resampling import Codes, Matrix, Weights
from mrigen.studies.reader_study.readers import mean_covariance

MAX_CONFIDENCE = 5


@dataclass(frozen=True, eq=False)
class ReaderFigures:
    """A figure of every reader (J,), and the covariance (J, J) of their errors from the cases."""

    values: Weights
    covariance: Matrix


@dataclass(frozen=True, eq=False)
class Detection:
    """Answers (J, cases): the confidence that an image is synthetic, from -5 (surely real) to 5 (surely synthetic),
    never 0. `synthetic` (cases,) is the truth, `owners` (cases,) whose each is: a subject, or a sample its own."""

    ratings: Matrix
    synthetic: np.ndarray[tuple[int], np.dtype[np.bool_]]
    owners: Codes

    @property
    def correct(self) -> Matrix:
        """1 where a reader was right, else 0."""
        right: Matrix = ((self.ratings > 0) == self.synthetic).astype(np.float64)
        return right

    def share(self, *, synthetic: bool) -> ReaderFigures:
        """Of the synthetic images those called synthetic (sensitivity), or of the real ones those called real."""
        here = self.synthetic == synthetic
        return shares(self.correct[:, here], self._owners(here))

    def accuracy(self) -> ReaderFigures:
        """The mean of sensitivity and specificity: one half for whoever guesses, however often synthetic is said."""
        hit, rejected = self.share(synthetic=True), self.share(synthetic=False)
        return ReaderFigures((hit.values + rejected.values) / 2, (hit.covariance + rejected.covariance) / 4)

    def sensitivity_index(self) -> ReaderFigures:
        """d' = z(hits) - z(false alarms) of the equal-variance model; rates by the log-linear rule (Hautus 1995)."""
        (hit, of_hits), (alarm, of_alarms) = self._normal_deviates()
        return ReaderFigures(hit - alarm, of_hits + of_alarms)

    def criterion(self) -> ReaderFigures:
        """c = -(z(hits) + z(false alarms)) / 2: above 0 whoever is inclined to say real."""
        (hit, of_hits), (alarm, of_alarms) = self._normal_deviates()
        return ReaderFigures(-(hit + alarm) / 2, (of_hits + of_alarms) / 4)

    def roc_area(self) -> ReaderFigures:
        """The area under the empirical ROC curve of the ratings, by DeLong's components (Biometrics 44:837, 1988)."""
        made, real = self.ratings[:, self.synthetic], self.ratings[:, ~self.synthetic]
        wins = (made[:, :, None] > real[:, None, :]) + 0.5 * (made[:, :, None] == real[:, None, :])
        covariance = mean_covariance(wins.mean(axis=2), self._owners(self.synthetic))
        covariance += mean_covariance(wins.mean(axis=1), self._owners(~self.synthetic))
        return ReaderFigures(wins.mean(axis=(1, 2)), covariance)

    def _owners(self, here: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Codes:
        return np.unique(self.owners[here], return_inverse=True)[1]

    def _normal_deviates(self) -> list[tuple[Weights, Matrix]]:
        """z of the rates of hits and of false alarms, and their covariances by the delta method."""
        found = []
        for synthetic in (True, False):
            here = self.synthetic == synthetic
            said = (self.ratings[:, here] > 0).astype(np.float64)
            rates = (said.sum(axis=1) + 0.5) / (said.shape[1] + 1)
            deviates = norm.ppf(rates)
            slopes = 1 / norm.pdf(deviates)
            found.append((deviates, np.outer(slopes, slopes) * shares(said, self._owners(here)).covariance))
        return found


def shares(said: Matrix, owners: Codes) -> ReaderFigures:
    """The share of ones among the answers (J, cases) of each reader.

    The variance is at least that of independent answers at the rate by the log-linear rule: where a reader gave one
    answer throughout, the error is not nothing.
    """
    count = said.shape[1]
    rates = (said.sum(axis=1) + 0.5) / (count + 1)
    covariance = np.nan_to_num(mean_covariance(said, owners))
    np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), rates * (1 - rates) / (count + 1)))
    return ReaderFigures(said.mean(axis=1), covariance)


def roc_points(ratings: Weights, synthetic: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Matrix:
    """The corners (K, 2) of one reader's empirical ROC curve: shares of the real and of the synthetic images that are
    rated higher than each level, from (0, 0) to (1, 1)."""
    levels = np.arange(MAX_CONFIDENCE, -MAX_CONFIDENCE - 2, -1)
    real, made = (np.array([(ratings[here] > level).mean() for level in levels]) for here in (~synthetic, synthetic))
    return np.stack([real, made], axis=1)
