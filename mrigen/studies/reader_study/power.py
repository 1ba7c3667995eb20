"""How many images and readers a study needs: the power of its two tests of accuracy, under the model of `readers`.

Accuracies of readers are spread about their mean with the standard deviation `reader_sd`; the answers of two readers
to one image are correlated with `correlation`, for images may mislead all alike.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mrigen.errors import InputError
from mrigen.metrics.resampling import Weights

ALPHA = 0.05
CHANCE = 0.5
MAX_IMAGES = 100_000


@dataclass(frozen=True)
class Readers:
    """Who will read, as far as one can guess before."""

    number: int
    reader_sd: float = 0.02
    correlation: float = 0.1

    def __post_init__(self) -> None:
        if self.number < 2 or not 0 <= self.reader_sd < 0.5 or not 0 <= self.correlation < 1:
            raise InputError(
                f"{self.number} readers of standard deviation {self.reader_sd:g} and correlation {self.correlation:g}: "
                "two readers are needed at least, a standard deviation from 0 to 0.5, a correlation from 0 to 1"
            )

    def power_of_equivalence(self, num_images: int, margin: float) -> float:
        """How probably TOST finds readers who guess within `margin` of chance."""
        error, limits = self._limits(num_images, CHANCE, ALPHA)
        return float(np.mean(np.maximum(2 * stats.norm.cdf((margin - limits) / error) - 1, 0.0)))

    def power_against_chance(self, num_images: int, beyond: float) -> float:
        """How probably the two-sided test tells readers from chance whose mean accuracy lies so far `beyond` it."""
        error, limits = self._limits(num_images, CHANCE + beyond, ALPHA / 2)
        ends = [stats.norm.cdf((sign * beyond - limits) / error) for sign in (1, -1)]
        return float(np.mean(np.sum(ends, axis=0)))

    def images_for_equivalence(self, margin: float, power: float) -> int:
        """The smallest even number of images with which `power_of_equivalence` is reached; InputError if none does."""
        return self._smallest(lambda count: self.power_of_equivalence(count, margin), power)

    def images_against_chance(self, beyond: float, power: float) -> int:
        """As `images_for_equivalence`, of `power_against_chance`."""
        return self._smallest(lambda count: self.power_against_chance(count, beyond), power)

    def _limits(self, num_images: int, accuracy: float, alpha: float) -> tuple[float, Weights]:
        """The standard error of the mean accuracy, and how far from a value it must lie for a one-sided test, at the
        quantiles of the standard error that the study will find."""
        of_cases = accuracy * (1 - accuracy) / num_images
        between = self.reader_sd**2 + of_cases * (1 - self.correlation)
        spread = between + self.number * self.correlation * of_cases
        error, freedom = math.sqrt(spread / self.number), (self.number - 1) * (spread / between) ** 2
        levels = (np.arange(400) + 0.5) / 400
        found: Weights = np.sqrt(stats.chi2.ppf(levels, freedom) / freedom)
        return error, float(stats.t.ppf(1 - alpha, freedom)) * error * found

    def _smallest(self, power_of: Callable[[int], float], power: float) -> int:
        if power_of(MAX_IMAGES) < power:
            raise InputError(
                f"{self.number} readers whose accuracies have a standard deviation of {self.reader_sd:g} reach a power "
                f"of {power:g} with no number of images: take more readers, or a wider margin"
            )
        counts = range(2, MAX_IMAGES, 2)
        found = bisect.bisect_left(counts, True, key=lambda count: power_of(count) >= power)
        return counts[found] if found < len(counts) else MAX_IMAGES
