"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020), by nearest neighbours.

The support of a set of features is the union of balls around them, each as wide as the distance to the feature's
k-th nearest neighbour in its own set.

Their intervals come from the jackknife by groups of owners (Shao and Tu 1995, section 2.3): one tenth of the owners of
one side is left out at a time. A bootstrap would not do, for images drawn twice are their own nearest neighbours.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from mrigen.metrics.resampling import LEVEL, MIN_OWNERS, Codes, ImageSet, owner_strata

NUM_NEIGHBOURS = 5
NUM_GROUPS = 10
_ROUNDING = 1e-12

Rows = Tensor | slice


@dataclass(frozen=True)
class Support:
    """precision: share of the generated images within the real support. recall: share of the real images within
    the generated support. density: how many real balls hold a generated image, over k, on average; may exceed 1.
    coverage: share of the real images whose ball holds a generated image."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class SupportWithIntervals:
    """The four figures, and for each the ends of its interval; None where a side has too few owners."""

    figures: Support
    lows: Support | None = None
    highs: Support | None = None


def support(real: Tensor, fake: Tensor, num_neighbours: int = NUM_NEIGHBOURS) -> Support:
    """Compare features (N, D) of two sets. Raises ValueError unless both have more images than neighbours."""
    return _Distances(real, fake).support(slice(None), slice(None), num_neighbours)


def support_with_intervals(
    real: ImageSet, fake: ImageSet, num_neighbours: int = NUM_NEIGHBOURS
) -> SupportWithIntervals:
    """The same with intervals. Where a group holds so many that too few are left, there is none."""
    distances = _Distances(real.features, fake.features)
    whole = distances.support(slice(None), slice(None), num_neighbours)
    variance, num_groups = np.zeros(4), NUM_GROUPS
    for side, images in enumerate((real, fake)):
        groups = _groups(images)
        count = int(groups.max()) + 1
        if count < MIN_OWNERS or len(images) - np.bincount(groups).max() <= num_neighbours:
            return SupportWithIntervals(whole)
        without = []
        for group in range(count):
            kept = torch.from_numpy(np.flatnonzero(groups != group))
            rows: list[Rows] = [slice(None), slice(None)]
            rows[side] = kept
            without.append(astuple(distances.support(rows[0], rows[1], num_neighbours)))
        variance += (count - 1) * np.var(without, axis=0)
        num_groups = min(num_groups, count)
    half = float(stdtrit(num_groups - 1, (1 + LEVEL) / 2)) * np.sqrt(variance)
    middle = np.array(astuple(whole))
    lows, highs = np.maximum(middle - half, 0.0), np.minimum(middle + half, [1.0, 1.0, math.inf, 1.0])
    return SupportWithIntervals(whole, Support(*lows.tolist()), Support(*highs.tolist()))


def _groups(images: ImageSet) -> Codes:
    """The group of each image: owners are dealt out in turn, stratum by stratum, to NUM_GROUPS groups."""
    groups = np.empty(images.num_owners, np.int64)
    by_stratum = np.argsort(owner_strata(images.owners, images.strata), kind="stable")
    groups[by_stratum] = np.arange(images.num_owners) % NUM_GROUPS
    return groups[images.owners]


class _Distances:
    """Squared distances within and between two sets of features, to be looked at in part."""

    def __init__(self, real: Tensor, fake: Tensor) -> None:
        self.real, self.fake, self.between = _squared(real, real), _squared(fake, fake), _squared(real, fake)

    def support(self, real: Rows, fake: Rows, num_neighbours: int) -> Support:
        """The four figures of some rows of either set."""
        between = self.between[real][:, fake]
        if min(between.shape) <= num_neighbours:
            raise ValueError(f"{num_neighbours} neighbours need more images than {min(between.shape)}")
        # The nearest of all is the feature itself.
        real_radii = self.real[real][:, real].kthvalue(num_neighbours + 1, dim=1).values
        fake_radii = self.fake[fake][:, fake].kthvalue(num_neighbours + 1, dim=1).values
        in_real_ball = between <= real_radii[:, None]
        in_fake_ball = between <= fake_radii[None, :]
        return Support(
            precision=float(in_real_ball.any(0).double().mean()),
            recall=float(in_fake_ball.any(1).double().mean()),
            density=float(in_real_ball.double().sum(0).mean() / num_neighbours),
            coverage=float(in_real_ball.any(1).double().mean()),
        )


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (N_a, N_b) from inner products; exactly 0 where rounding is all that is left of them."""
    a, b = a.double(), b.double()
    sizes = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
    squared = sizes - 2.0 * a @ b.T
    return torch.where(squared > _ROUNDING * sizes, squared, 0.0)
