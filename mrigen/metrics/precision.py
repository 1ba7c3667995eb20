"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020), by nearest neighbours.

The support of a set of features is the union of balls around them, each as wide as the distance to the feature's
k-th nearest neighbour in its own set.

Their intervals come from the jackknife by groups of owners (Shao and Tu 1995, section 2.3): one tenth of the owners of
one side is left out at a time. A bootstrap would not do, for images drawn twice are their own nearest neighbours.
"""

from __future__ import annotations

import math
from dataclasses import asdict, astuple, dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from mrigen.metrics.figure import Figure
from mrigen.metrics.resampling import LEVEL, MIN_OWNERS, Codes, ImageSet, owner_strata

NUM_NEIGHBOURS = 5
NUM_GROUPS = 10
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Support:
    """precision: share of the generated images within the real support. recall: share of the real images within
    the generated support. density: how many real balls hold a generated image, over k, on average; may exceed 1.
    coverage: share of the real images whose ball holds a generated image."""

    precision: float
    recall: float
    density: float
    coverage: float


def support(real: Tensor, fake: Tensor, between: Tensor, num_neighbours: int = NUM_NEIGHBOURS) -> Support:
    """Compare two sets by squared distances: within the real one (N, N), within the generated one (M, M), and between
    them (N, M). Raises ValueError unless both have more images than neighbours."""
    if min(between.shape) <= num_neighbours:
        raise ValueError(f"{num_neighbours} neighbours need more images than {min(between.shape)}")
    # The nearest of all is the feature itself.
    real_radii, fake_radii = (within.kthvalue(num_neighbours + 1, dim=1).values for within in (real, fake))
    in_real_ball = between <= real_radii[:, None]
    in_fake_ball = between <= fake_radii[None, :]
    return Support(
        precision=float(in_real_ball.any(0).double().mean()),
        recall=float(in_fake_ball.any(1).double().mean()),
        density=float(in_real_ball.double().sum(0).mean() / num_neighbours),
        coverage=float(in_real_ball.any(1).double().mean()),
    )


def support_figures(real: ImageSet, fake: ImageSet) -> dict[str, Figure]:
    """The figures of `Support` by name, with intervals where both sides have owners enough for them; N is that of
    `fake`."""
    within_real, within_fake, between = (
        squared_distances(a.features, b.features) for a, b in ((real, real), (fake, fake), (real, fake))
    )
    whole = asdict(support(within_real, within_fake, between))
    variance, num_groups = np.zeros(len(whole)), NUM_GROUPS
    for side, images in enumerate((real, fake)):
        groups = _groups(images)
        count = int(groups.max()) + 1
        if count < MIN_OWNERS or len(images) - np.bincount(groups).max() <= NUM_NEIGHBOURS:
            return {name: Figure.of(value, len(fake)) for name, value in whole.items()}
        without = []
        for group in range(count):
            kept = torch.from_numpy(np.flatnonzero(groups != group))
            if side == 0:
                found = support(within_real[kept][:, kept], within_fake, between[kept])
            else:
                found = support(within_real, within_fake[kept][:, kept], between[:, kept])
            without.append(astuple(found))
        variance += (count - 1) * np.var(without, axis=0)
        num_groups = min(num_groups, count)
    halves = float(stdtrit(num_groups - 1, (1 + LEVEL) / 2)) * np.sqrt(variance)
    figures = {}
    for (name, value), half in zip(whole.items(), halves.tolist(), strict=True):
        most = math.inf if name == "density" else 1.0
        figures[name] = Figure.of(value, len(fake), (max(value - half, 0.0), min(value + half, most)))
    return figures


def _groups(images: ImageSet) -> Codes:
    """The group of each image: owners are dealt out in turn, stratum by stratum, to NUM_GROUPS groups."""
    groups = np.empty(images.num_owners, np.int64)
    by_stratum = np.argsort(owner_strata(images.owners, images.strata), kind="stable")
    groups[by_stratum] = np.arange(images.num_owners) % NUM_GROUPS
    return groups[images.owners]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances (N_a, N_b) from inner products; exactly 0 where rounding is all that is left of them."""
    a, b = a.double(), b.double()
    sizes = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
    squared = sizes - 2.0 * a @ b.T
    return torch.where(squared > _ROUNDING * sizes, squared, 0.0)
