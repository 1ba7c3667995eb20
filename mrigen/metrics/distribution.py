"""The Frechet distance between two sets of features (FID: Heusel et al. 2017, eq. 6).

d^2 = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from mrigen.metrics.figure import Figure

MIN_FID_IMAGES = 10
"""Below this many images on either side there is no figure: it would say more about N than about the images."""


@dataclass(frozen=True)
class FeatureSums:
    """What FID needs to know of a set of features, as sums: parts add up to the whole.

    float64 `total` (D,) and `outer` (D, D), the sum of the features' outer products; `n` features.
    """

    total: Tensor
    outer: Tensor
    n: int

    @classmethod
    def of(cls, features: Tensor) -> FeatureSums:
        """Sums over features (N, D), which may be no rows. Raises ValueError if one is not finite."""
        if not bool(torch.isfinite(features).all()):
            raise ValueError("features are not finite")  # they would crash the eigen-decomposition
        exact = features.double()
        return cls(exact.sum(0), exact.T @ exact, len(exact))

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.total + other.total, self.outer + other.outer, self.n + other.n)


def frechet_distance(real: FeatureSums, fake: FeatureSums) -> float:
    """Distance between the normal distributions fitted to two sets, by torchmetrics from the sums.

    Raises ValueError for fewer than two features in a set.
    """
    if min(real.n, fake.n) < 2:
        raise ValueError(f"a covariance needs two features or more, got {real.n} and {fake.n}")
    metric = FrechetInceptionDistance(feature=_FeaturesGiven(len(real.total)))
    for side, sums in (("real", real), ("fake", fake)):
        setattr(metric, f"{side}_features_sum", sums.total)
        setattr(metric, f"{side}_features_cov_sum", sums.outer)
        setattr(metric, f"{side}_features_num_samples", torch.tensor(sums.n))
    metric.orig_dtype = torch.float64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that compute comes before update: the sums are in place
        return float(metric.compute())


def frechet_distance_few(real: Tensor, fake: Tensor) -> float:
    """The same distance from features (N, D) themselves; fast where N is smaller than D.

    With centred, scaled features X_i (S_i = X_i^T X_i), tr((S_1 S_2)^(1/2)) is the sum of the singular
    values of the N_1 x N_2 matrix X_1 X_2^T, so no D x D matrix is decomposed.
    Raises ValueError for fewer than two features in a set, or one that is not finite.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"a covariance needs two features or more, got {len(real)} and {len(fake)}")
    if not bool(torch.isfinite(real).all() and torch.isfinite(fake).all()):
        raise ValueError("features are not finite")
    real, fake = real.double(), fake.double()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    centred = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (real, fake)]
    spread = centred[0].square().sum() + centred[1].square().sum()
    overlap = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()
    return float(shift + spread - 2.0 * overlap)


def fid(real: Tensor, fake: Tensor) -> Figure:
    """FID between features (N, D) of real and of other images; N of the figure is that of the others.

    Fewer than MIN_FID_IMAGES on a side give the reason in place of a figure.
    """
    if reason := too_few(len(real), len(fake)):
        return Figure.missing(reason, len(fake))
    if min(len(real), len(fake)) < real.shape[1]:
        return Figure.of(max(0.0, frechet_distance_few(real, fake)), len(fake))
    return Figure.of(max(0.0, frechet_distance(FeatureSums.of(real), FeatureSums.of(fake))), len(fake))


def too_few(num_real: int, num_fake: int) -> str | None:
    """Why two sets of these sizes give no FID, or None."""
    if min(num_real, num_fake) >= MIN_FID_IMAGES:
        return None
    return f"FID needs {MIN_FID_IMAGES} images on each side, here are {num_real} real and {num_fake} to compare"


class _FeaturesGiven(nn.Module):
    """Stands where torchmetrics wants a network: it takes features and gives them back."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
