"""Intervals by the bootstrap over owners: subjects of real images, the samples themselves of generated ones.

Slices of a subject are alike, so it is subjects that are drawn anew, with all their images (the cluster
bootstrap: Davison and Hinkley 1997, section 3.8). Owners are drawn within their stratum, for the numbers of each
pathology are chosen, not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Codes = np.ndarray[Any, np.dtype[np.int64]]
Weights = np.ndarray[Any, np.dtype[np.float64]]
Matrix = np.ndarray[Any, np.dtype[np.float64]]

MIN_OWNERS = 5
"""With fewer subjects an interval over subjects would be far too narrow, so there is none."""
MIN_OWNERS_IN_CELL = 3
"""A figure of pairs of subjects within a cell has no interval with fewer: many draws would leave one of them alone."""
LEVEL = 0.95


@dataclass(frozen=True)
class ImageSet:
    """Features (N, D) float64 of some images, whose each is, its cell, and the stratum that its owner is drawn in.

    `owners`, `cells` and `strata` are (N,) codes; owners count from 0 in the order in which they first occur.
    """

    features: Tensor
    owners: Codes
    cells: Codes
    strata: Codes

    @classmethod
    def of(
        cls, features: Tensor, owners: Sequence[str], cells: Sequence[int] | Codes, strata: Sequence[int] | Codes
    ) -> ImageSet:
        """From names of owners. Raises ValueError where the lengths differ or a feature is not finite."""
        if not len(features) == len(owners) == len(cells) == len(strata):
            raise ValueError("features, owners, cells and strata differ in length")
        if not bool(torch.isfinite(features).all()):
            raise ValueError("features are not finite")  # they would crash an eigen-decomposition
        return cls(features.double(), owner_codes(owners), np.asarray(cells, np.int64), np.asarray(strata, np.int64))

    @classmethod
    def plain(cls, features: Tensor) -> ImageSet:
        """Independent images of one cell."""
        zeros = [0] * len(features)
        return cls.of(features, [str(i) for i in range(len(features))], zeros, zeros)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def num_owners(self) -> int:
        """How many subjects, or samples, the images are of."""
        return int(self.owners.max()) + 1 if len(self) else 0

    def taken(self, rows: Codes) -> ImageSet:
        """Some of the images, in the order of `rows`."""
        _, first, inverse = np.unique(self.owners[rows], return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))
        return ImageSet(self.features[rows], order[inverse], self.cells[rows], self.strata[rows])


def seeded(*key: object) -> np.random.Generator:
    """A generator that depends on `key` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8], "big"))


def owner_codes(owners: Sequence[str]) -> Codes:
    """Owners as numbers, counted from 0 in the order in which they first occur."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(owner, len(first)) for owner in owners], np.int64)


def owner_strata(owners: Codes, strata: Codes) -> Codes:
    """The stratum of each owner, that of its first image."""
    _, first = np.unique(owners, return_index=True)
    return strata[first]


def owner_weights(
    owners: Codes, strata: Codes, num_draws: int, generator: np.random.Generator, times: float = 1.0
) -> Weights | None:
    """How often each owner is drawn, (draws, owners), when every stratum is drawn anew with replacement: as many owners
    as it has, so many `times`.

    None where there are fewer than MIN_OWNERS owners.
    """
    groups = owner_strata(owners, strata)
    if len(groups) < MIN_OWNERS:
        return None
    weights = np.zeros((num_draws, len(groups)))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        count = max(1, round(times * len(members)))
        weights[:, members] = generator.multinomial(count, np.full(len(members), 1 / len(members)), num_draws)
    return weights


def pair_weights(
    images: ImageSet, num_draws: int, generator: np.random.Generator, times: float = 1.0
) -> Weights | None:
    """`owner_weights` for a figure of pairs of owners within cells.

    None also where a cell has fewer than MIN_OWNERS_IN_CELL owners.
    """
    for cell in np.unique(images.cells):
        if len(np.unique(images.owners[images.cells == cell])) < MIN_OWNERS_IN_CELL:
            return None
    return owner_weights(images.owners, images.strata, num_draws, generator, times)


def interval(draws: Weights) -> tuple[float, float] | None:
    """The percentile interval of bootstrap draws; those that are not finite (an empty stratum) do not count.

    None where fewer than half are finite.
    """
    finite = draws[np.isfinite(draws)]
    if len(finite) < max(2, len(draws) / 2):
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def owner_sums(values: Weights, owners: Codes) -> Weights:
    """Sums of the images' values by owner."""
    return np.bincount(owners, weights=values).astype(np.float64)


def mean_draws(values: Weights, owners: Codes, weights: Weights) -> Weights:
    """Means (draws,) of the images' values, every owner counted as often as it was drawn."""
    counts = np.bincount(owners).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Weights = (weights @ owner_sums(values, owners)) / (weights @ counts)
    return means
