"""The Frechet distance between two sets of features (FID: Heusel et al. 2017, eq. 6), and how it moves with each image.

d^2 = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

Its slope in the weight of image x of set 1 is, up to a constant and factors of N,
2 (m_1 - m_2)(x - m_1) + |x - m_1|^2 - q with q = (x - m_1)^T T (x - m_1), where T is the linear map that transports the
second normal distribution's shape to the first's (Olkin and Pukelsheim 1982). Slopes give the interval: the bootstrap
of the linearised distance. Re-computing the distance on images drawn with replacement would not do, for a draw holds
fewer distinct images, and FID grows as images get fewer: such draws lie far above the distance itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrigen.metrics.resampling import Weights

BLOCK = 128
"""Rows of one partial sum: sums are added block by block in a fixed order, whoever computes them."""
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True)
class Frechet:
    """The distance, and its slopes in the weight of each image of either set; the slopes of a set sum to 0."""

    value: float
    real_slopes: Weights
    fake_slopes: Weights


def frechet(real: Tensor, fake: Tensor) -> Frechet:
    """Distance between the normal distributions fitted to features (N, D) of two sets, with its slopes.

    Where a set has fewer images than features the distance comes from the N_1 x N_2 matrix of inner products,
    else from the D x D covariances. Raises ValueError for fewer than two features in a set, or one not finite.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"a covariance needs two features or more, got {len(real)} and {len(fake)}")
    if not bool(torch.isfinite(real).all() and torch.isfinite(fake).all()):
        raise ValueError("features are not finite")
    if min(len(real), len(fake)) < real.shape[1]:
        return by_inner_products(real.double(), fake.double())
    return by_covariances(real.double(), fake.double())


def by_inner_products(real: Tensor, fake: Tensor) -> Frechet:
    """With centred, scaled features X_i (S_i = X_i^T X_i), tr((S_1 S_2)^(1/2)) is the sum of the singular values
    of A = X_1 X_2^T, and image i's share q of it is [(A A^T)^(1/2)]_ii."""
    shift = real.mean(0) - fake.mean(0)
    centred = [x - x.mean(0) for x in (real, fake)]
    scaled = [x / (len(x) - 1) ** 0.5 for x in centred]
    left, values, right = torch.linalg.svd(scaled[0] @ scaled[1].T, full_matrices=False)
    spread = scaled[0].square().sum() + scaled[1].square().sum()
    value = shift.square().sum() + spread - 2.0 * values.sum()
    shares = [vectors.square() @ values * (len(x) - 1) for vectors, x in ((left, real), (right.T, fake))]
    return Frechet(float(value), _slopes(centred[0], shift, shares[0]), _slopes(centred[1], -shift, shares[1]))


def by_covariances(real: Tensor, fake: Tensor) -> Frechet:
    """With R = S_1^(1/2) and M = R S_2 R: tr((S_1 S_2)^(1/2)) = tr M^(1/2), and the two transport maps are
    R^-1 M^(1/2) R^-1 and R M^(-1/2) R."""
    (real_mean, first), (fake_mean, second) = _moments(real), _moments(fake)
    shift = real_mean - fake_mean
    root, inverse_root = _roots(first)
    middle, inverse_middle = _roots(root @ second @ root)
    value = shift.square().sum() + first.trace() + second.trace() - 2.0 * middle.trace()
    maps = inverse_root @ middle @ inverse_root, root @ inverse_middle @ root
    centred = real - real_mean, fake - fake_mean
    shares = [((x @ transport) * x).sum(1) for x, transport in zip(centred, maps, strict=True)]
    return Frechet(float(value), _slopes(centred[0], shift, shares[0]), _slopes(centred[1], -shift, shares[1]))


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the covariance (D, D), with N - 1, of features (N, D)."""
    width, n = features.shape[1], len(features)
    total, outer = torch.zeros(width).double(), torch.zeros(width, width).double()
    for block in torch.split(features, BLOCK):
        total, outer = total + block.sum(0), outer + block.T @ block
    mean = total / n
    return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root of a symmetric matrix that should have no negative eigenvalue; directions
    without weight have none in either."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > _NEGLIGIBLE * values[-1].clamp_min(torch.finfo(torch.float64).tiny)
    root = torch.where(kept, values.clamp_min(0.0).sqrt(), 0.0)
    inverse = torch.where(kept, 1.0 / root.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return vectors * root @ vectors.T, vectors * inverse @ vectors.T


def _slopes(centred: Tensor, shift: Tensor, shares: Tensor) -> Weights:
    n = len(centred)
    slopes = 2.0 * centred @ shift + (centred.square().sum(1) - shares) * n / (n - 1)
    return np.asarray(((slopes - slopes.mean()) / n).numpy())
