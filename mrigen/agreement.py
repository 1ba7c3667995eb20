"""How far two images show one anatomy, whatever their contrasts: one person in two modalities, or two persons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.quality import FOREGROUND

_LEVELS = 16
_STRONGEST = 0.2
"""The share of a foreground whose gradients are the longest: its boundaries."""

Image = NDArray[Any]


def edge_correlation(image: Image, other: Image) -> float:
    """Correlation of the lengths of their gradients, over the foreground of either."""
    either = (image > FOREGROUND) | (other > FOREGROUND)
    return float(np.corrcoef(_gradients(image)[either], _gradients(other)[either])[0, 1])


def shared_information(image: Image, other: Image) -> float:
    """Mutual information of their intensities over the mean of their entropies, over the foreground of either."""
    either = (image > FOREGROUND) | (other > FOREGROUND)
    pairs, _, _ = np.histogram2d(image[either], other[either], bins=_LEVELS, range=[(-1, 1), (-1, 1)])
    both, one, two = (_entropy(counts / pairs.sum()) for counts in (pairs, pairs.sum(0), pairs.sum(1)))
    return 2 * (one + two - both) / (one + two)


def boundary_distance(image: Image, other: Image) -> float:
    """Pixels from a boundary of one to the nearest of the other, the mean of both ways."""
    one, two = _boundaries(image), _boundaries(other)
    ways = ((one, two), (two, one))
    return float(np.mean([ndimage.distance_transform_edt(~nearest)[places].mean() for places, nearest in ways]))


def _gradients(image: Image) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(np.gradient(image.astype(np.float64)), axis=0))


def _entropy(shares: NDArray[np.float64]) -> float:
    found = shares[shares > 0]
    return float(-(found * np.log(found)).sum())


def _boundaries(image: Image) -> NDArray[np.bool_]:
    lengths = _gradients(image)
    shortest = np.quantile(lengths[image > FOREGROUND], 1 - _STRONGEST)
    return np.asarray(lengths > min(shortest, 0.99 * lengths.max()))


FIGURES: Mapping[str, Callable[[Image, Image], float]] = {
    "correlation of edges": edge_correlation,
    "shared information": shared_information,
    "distance of boundaries in pixels": boundary_distance,
}


@dataclass(frozen=True)
class Agreement:
    """The mean of each of `FIGURES` over pairs of modalities: of one person, and of a person and another."""

    num_persons: int
    same: Mapping[str, float]
    others: Mapping[str, float]


def agreement_of(groups: Sequence[Sequence[Sequence[Image]]]) -> Agreement | None:
    """Of groups of persons, each its images (*spatial) in [-1, 1] in the same modalities.

    The other person is the next of the group, so that neighbours should show about the same slice. Images without
    foreground, or with one grey value, are left out; None where no pair is left.
    """
    same: list[list[float]] = []
    others: list[list[float]] = []
    for group in groups:
        persons = [person for person in group if all(len(np.unique(image[image > FOREGROUND])) > 1 for image in person)]
        for person, stranger in zip(persons, [*persons[1:], *persons[:1]], strict=True):
            for one, two in itertools.combinations(range(len(person)), 2):
                same += [[figure(person[one], person[two]) for figure in FIGURES.values()]]
                if person is not stranger:
                    others += [[figure(person[one], stranger[two]) for figure in FIGURES.values()]]
    if not same or not others:
        return None
    means = (dict(zip(FIGURES, np.mean(rows, axis=0).tolist(), strict=True)) for rows in (same, others))
    return Agreement(sum(map(len, groups)), *means)
