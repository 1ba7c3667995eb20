"""The kernel distance between two sets of features (KID: Binkowski et al. 2018) and its permutation test.

KID is the squared maximum mean discrepancy of the kernel (x.y / D + 1)^3 (Gretton et al. 2012, eq. 3): mean kernel
within the real images, plus within the generated ones, minus twice between them. Unlike FID it has no bias in N, if
the pairs within a set are of independent images: so pairs of one subject are left out. Where several cells are
compared at once, each pair of cells weighs the same within the sets as between them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrigen.metrics.figure import Figure
from mrigen.metrics.resampling import Codes, ImageSet, Matrix, Weights, interval, owner_strata, pair_weights

MIN_UNITS = 7
"""With fewer subjects there are fewer than 1,000 ways to permute the labels, hence no p-value below 0.001."""

NO_KID = "KID needs images of two subjects on each side, in every cell"


def polynomial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """(x.y / D + 1)^3 for every pair of features (N_a, D) and (N_b, D), in float64."""
    return (a.double() @ b.double().T / a.shape[1] + 1.0) ** 3


@dataclass(frozen=True)
class KernelSums:
    """A kernel matrix summed over units: the images of one owner in one cell.

    For units g and h, `sums[g, h]` adds up the kernel over `counts[g, h]` pairs of images. `rows` and `columns`
    tell the owner and the cell of each unit.
    """

    sums: Matrix
    counts: Matrix
    row_owners: Codes
    column_owners: Codes
    row_cells: Codes
    column_cells: Codes

    @classmethod
    def of(cls, a: ImageSet, b: ImageSet | None = None) -> KernelSums:
        """Between two sets, or within one: there, pairs of one owner are left out."""
        other = a if b is None else b
        left, right = _Units.of(a), _Units.of(other)
        kernel = polynomial_kernel(a.features, other.features).numpy()
        sums = left.add_up(right.add_up(kernel.T).T)
        counts = np.outer(left.sizes, right.sizes)
        if b is None:
            apart = left.owners[:, None] != right.owners[None, :]
            sums, counts = sums * apart, counts * apart
        return cls(sums, counts, left.owners, right.owners, left.cells, right.cells)

    def mean(self, row_weights: Weights, column_weights: Weights) -> Weights:
        """The mean kernel (draws,) for weights of owners (draws, owners); NaN where a pair of cells has no weight.

        Every cell has the same weight, so every pair of cells has.
        """
        rows, columns = np.unique(self.row_cells), np.unique(self.column_cells)
        total = np.zeros(len(row_weights))
        for row in rows:
            left = self.row_cells == row
            row_weight = row_weights[:, self.row_owners[left]]
            for column in columns:
                right = self.column_cells == column
                column_weight = column_weights[:, self.column_owners[right]]
                block = np.ix_(left, right)
                added = np.einsum("bj,bj->b", row_weight @ self.sums[block], column_weight)
                counted = np.einsum("bj,bj->b", row_weight @ self.counts[block], column_weight)
                with np.errstate(invalid="ignore", divide="ignore"):
                    total += added / counted
        return total / (len(rows) * len(columns))


@dataclass(frozen=True)
class _Units:
    """The images of a set by unit: `unit` of each image, and owner, cell and number of images of each unit."""

    unit: Codes
    owners: Codes
    cells: Codes
    sizes: Weights

    @classmethod
    def of(cls, images: ImageSet) -> _Units:
        pairs, unit = np.unique(np.stack([images.cells, images.owners], axis=1), axis=0, return_inverse=True)
        unit = unit.reshape(-1)
        return cls(unit, pairs[:, 1], pairs[:, 0], np.bincount(unit).astype(float))

    def add_up(self, matrix: Matrix) -> Matrix:
        """Sums of a matrix's rows by unit."""
        order = np.argsort(self.unit, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.sizes[:-1])]).astype(np.int64)
        return np.asarray(np.add.reduceat(matrix[order], starts, axis=0))


@dataclass(frozen=True)
class Kid:
    """KID, NaN where a cell of a set has images of one owner only, and its bootstrap draws, None where the owners are
    too few for them."""

    value: float
    draws: Weights | None

    def figure(self, n: int) -> Figure:
        """With its interval; `n` is the number of images that are compared with real ones."""
        if math.isnan(self.value):
            return Figure.missing(NO_KID, n)
        return Figure.of(self.value, n, None if self.draws is None else interval(self.draws))


def _kernel_distance(a: ImageSet, b: ImageSet) -> Callable[[Weights, Weights], Weights]:
    """The distance of two sets for any weights of their owners, (draws, owners) each: (draws,)."""
    real, fake, between = KernelSums.of(a), KernelSums.of(b), KernelSums.of(a, b)
    return lambda x, y: real.mean(x, x) + fake.mean(y, y) - 2.0 * between.mean(x, y)


def kid(real: ImageSet, fake: ImageSet, num_draws: int, generator: np.random.Generator) -> Kid:
    """KID between two sets of images."""
    distance = _kernel_distance(real, fake)
    value = distance(np.ones((1, real.num_owners)), np.ones((1, fake.num_owners)))
    weights = [pair_weights(images, num_draws, generator) for images in (real, fake)]
    if weights[0] is None or weights[1] is None:
        return Kid(float(value[0]), None)
    return Kid(float(value[0]), distance(weights[0], weights[1]))


TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""So many times the images at hand, for the width of the interval that they would give."""
WIDTH_DRAWS = 200
SIDES = ("both", "samples")
"""What there is more or less of: images of both sides, or only those that are compared with real ones."""


def kid_widths(real: ImageSet, fake: ImageSet, generator: np.random.Generator) -> dict[str, Figure]:
    """The width of the interval of KID if there were other numbers of images, each with the number of those compared
    with real ones, by the names of `width_name`; empty where there is no interval.

    Draws of m out of n owners, with replacement, spread as m owners would (Bickel, Goetze and van Zwet 1997).
    """
    distance, found = _kernel_distance(real, fake), {}
    for side in SIDES:
        for times in TIMES:
            shares = (times if side == "both" else 1.0, times)
            weights = [pair_weights(x, WIDTH_DRAWS, generator, n) for x, n in zip((real, fake), shares, strict=True)]
            if weights[0] is None or weights[1] is None:
                return {}
            if ends := interval(distance(weights[0], weights[1])):
                found[width_name(side, times)] = Figure.of(ends[1] - ends[0], round(times * len(fake)))
    return found


def width_name(side: str, times: float) -> str:
    """That of a figure of `kid_widths`."""
    return f"kid_width_{side}_{times:g}"


def mean_cell_kid(real: ImageSet, fake: ImageSet, num_draws: int, generator: np.random.Generator) -> Kid:
    """KID within each cell, averaged over the cells, which both sets must have.

    Unlike the KID of all cells pooled, it sees images that are good but of the wrong cell. For the interval a subject
    is drawn with all its images, in whatever cell, so that cells are not taken for independent.
    """
    cells = np.unique(real.cells)
    if not np.array_equal(cells, np.unique(fake.cells)):
        raise ValueError("both sets must have images of the same cells")
    weights = [pair_weights(images, num_draws, generator) for images in (real, fake)]
    values, draws = [], []
    for cell in cells:
        (a, whose_a), (b, whose_b) = _within(real, cell), _within(fake, cell)
        distance = _kernel_distance(a, b)
        values.append(distance(np.ones((1, a.num_owners)), np.ones((1, b.num_owners))))
        if weights[0] is not None and weights[1] is not None:
            draws.append(distance(weights[0][:, whose_a], weights[1][:, whose_b]))
    return Kid(float(np.mean(values)), np.mean(draws, axis=0) if draws else None)


def _within(images: ImageSet, cell: int) -> tuple[ImageSet, Codes]:
    """The images of one cell, and which owner of the whole set each of their owners is."""
    rows = np.flatnonzero(images.cells == cell)
    owners, first = np.unique(images.owners[rows], return_index=True)
    return images.taken(rows), owners[np.argsort(first)]


def permutation_test(real: ImageSet, fake: ImageSet, num_permutations: int, generator: np.random.Generator) -> float:
    """The p-value of "both sets are of the same images", by the kernel distance under permuted labels.

    Units, not images, change sides, for slices of a subject are alike: a unit is a subject with all its slices. Of
    each stratum, as many owners as the poorer side has make a unit each, and the other side's are dealt out to as
    many units. With equally many units on both sides the permutations have the right spread even where units
    differ in kind (Chung and Romano 2013), as a subject and a handful of samples do. Every cell is centred first,
    so that a unit's mixture of cells does not matter.
    Raises ValueError below MIN_UNITS units a side.
    """
    sides = _deal(real, fake), _deal(fake, real)
    num_units = permutation_units(real, fake)
    if num_units < MIN_UNITS:
        raise ValueError(f"a permutation test needs {MIN_UNITS} subjects, got {num_units}")
    features = torch.cat([real.features, fake.features])
    units = np.concatenate([sides[0], sides[1] + num_units])
    means = np.concatenate([np.full(len(x), 1.0 / len(x)) for x in (real, fake)])
    adding = (np.arange(2 * num_units)[:, None] == units) * means
    cells = np.concatenate([real.cells, fake.cells])
    indicator = (np.unique(cells)[:, None] == cells).astype(float)
    adding -= (adding @ indicator.T) @ (indicator / indicator.sum(1, keepdims=True))
    kernel = adding @ polynomial_kernel(features, features).numpy() @ adding.T
    # With labels z of +1 and -1, z^T K z is the squared distance of the two sides' mean features.
    labels = np.repeat([1.0, -1.0], num_units)
    first = [np.unique(side, return_index=True)[1] for side in sides]
    strata = np.concatenate([real.strata[first[0]], fake.strata[first[1]]])
    shuffled = _permuted(labels, strata, num_permutations, generator)
    permuted = np.einsum("pi,pi->p", shuffled @ kernel, shuffled)
    observed = labels @ kernel @ labels
    slack = 1e-9 * abs(observed)  # a permutation that is the observed one but for rounding counts
    return float((1 + (permuted >= observed - slack).sum()) / (1 + num_permutations))


def permutation_units(real: ImageSet, fake: ImageSet) -> int:
    """How many units each side of the permutation test has."""
    counts = [Counter(owner_strata(x.owners, x.strata).tolist()) for x in (real, fake)]
    return sum((counts[0] & counts[1]).values())


def _deal(images: ImageSet, others: ImageSet) -> Codes:
    """The unit of each image: owners are dealt out in turn, within each stratum, to as many units as the side with
    fewer owners there has of them. Raises ValueError for a stratum that the other side lacks."""
    own, other = owner_strata(images.owners, images.strata), owner_strata(others.owners, others.strata)
    units = np.zeros(len(own), np.int64)
    start = 0
    for stratum in np.unique(own):
        members = np.flatnonzero(own == stratum)
        count = min(len(members), int((other == stratum).sum()))
        if not count:
            raise ValueError(f"stratum {stratum} has images on one side only")
        units[members] = start + np.arange(len(members)) % count
        start += count
    return units[images.owners]


def _permuted(labels: Weights, strata: Codes, count: int, generator: np.random.Generator) -> Matrix:
    """`count` permutations of the labels, each within the strata."""
    shuffled = np.empty((count, len(labels)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        shuffled[:, members] = generator.permuted(np.tile(labels[members], (count, 1)), axis=1)
    return shuffled
