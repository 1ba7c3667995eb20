"""The Frechet distance extrapolated to infinitely many images (Chong and Forsyth 2020).

FID at N images is about FID at infinity plus a constant over N. A line through distances at many N, against 1/N,
meets 1/N = 0 at the distance without this bias. They drew subsets of generated images only, against real statistics
of 50,000 images; here both sides are small, so both shrink together, and the line is in the reciprocal of the
fraction of the subjects that is kept.
"""

from __future__ import annotations

import numpy as np
import torch

from mrigen.metrics.distribution import Frechet, frechet
from mrigen.metrics.resampling import Codes, ImageSet, owner_strata

NUM_SIZES = 12
SMALLEST_FRACTION = 0.25
MIN_IMAGES_TO_EXTRAPOLATE = 100
"""On either side: with fewer, the bias is no straight line, and an extrapolation says nothing."""
MIN_OWNERS_TO_EXTRAPOLATE = 8
"""On either side, for it is subjects that shrink in number: slices of one subject do not stand for many."""


def frechet_infinity(real: ImageSet, fake: ImageSet, generator: np.random.Generator) -> Frechet:
    """FID at infinity, with the slopes of the fitted intercept in each image's weight.

    Each size takes owners at random, without replacement, the same share of every stratum.
    Raises ValueError below MIN_IMAGES_TO_EXTRAPOLATE or MIN_OWNERS_TO_EXTRAPOLATE on a side.
    """
    if reason := too_few_for_infinity(real, fake):
        raise ValueError(reason)
    # Evenly spaced in their reciprocal, as in the paper's fit, the whole first.
    fractions = 1.0 / np.linspace(1.0, 1.0 / SMALLEST_FRACTION, NUM_SIZES)
    # The intercept of a least-squares line is a weighted sum of the distances.
    design = np.stack([np.ones_like(fractions), 1.0 / fractions], axis=1)
    shares = np.linalg.pinv(design)[0]
    value, slopes = 0.0, (np.zeros(len(real)), np.zeros(len(fake)))
    for fraction, share in zip(fractions, shares, strict=True):
        rows = [_some(images, float(fraction), generator) for images in (real, fake)]
        part = frechet(*(x.features[torch.from_numpy(chosen)] for x, chosen in zip((real, fake), rows, strict=True)))
        value += float(share) * part.value
        slopes[0][rows[0]] += share * part.real_slopes
        slopes[1][rows[1]] += share * part.fake_slopes
    return Frechet(value, *slopes)


def too_few_for_infinity(real: ImageSet, fake: ImageSet) -> str | None:
    """Why two sets have no FID at infinity, or None."""
    if min(len(real), len(fake)) < MIN_IMAGES_TO_EXTRAPOLATE:
        return (
            f"FID at infinity needs {MIN_IMAGES_TO_EXTRAPOLATE} images on each side, here are {len(real)} real and "
            f"{len(fake)} to compare"
        )
    if min(real.num_owners, fake.num_owners) < MIN_OWNERS_TO_EXTRAPOLATE:
        fewest = min(real.num_owners, fake.num_owners)
        return f"FID at infinity needs {MIN_OWNERS_TO_EXTRAPOLATE} subjects, here are {fewest}"
    return None


def _some(images: ImageSet, fraction: float, generator: np.random.Generator) -> Codes:
    """Rows of the images of a random `fraction` of the owners of every stratum, one owner at the least."""
    groups = owner_strata(images.owners, images.strata)
    chosen = np.zeros(len(groups), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        chosen[generator.permutation(members)[: max(1, round(fraction * len(members)))]] = True
    return np.flatnonzero(chosen[images.owners])
