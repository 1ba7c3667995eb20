"""All figures that compare two sets of images by their features, each with its N and its interval."""

from __future__ import annotations

import math

import numpy as np

from mrigen.config import EvaluationConfig
from mrigen.metrics.distribution import Frechet, frechet
from mrigen.metrics.figure import Figure
from mrigen.metrics.infinity import frechet_infinity, too_few_for_infinity
from mrigen.metrics.kernel import MIN_UNITS, kid, permutation_test, permutation_units
from mrigen.metrics.precision import support_figures
from mrigen.metrics.resampling import ImageSet, interval, owner_sums, owner_weights, seeded

DISTANCES = {
    "kid": "KID",
    "fid": "FID",
    "fid_infinity": "FID at infinity",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
}
"""All of them by name, with their titles."""
MIN_IMAGES = 10
"""Below this many images on either side there is no figure: it would say more about N than about the images."""
MAX_IMAGES = 2000
"""Images a side of what needs a matrix of all pairs: KID, its test, and the four figures of nearest neighbours."""


def compare(
    real: ImageSet, fake: ImageSet, settings: EvaluationConfig, *key: object, infinity: bool
) -> dict[str, Figure]:
    """Every figure of DISTANCES between real images and others; N of each is that of the others.

    `key` seeds what is random. Without `infinity` there is no `fid_infinity`: one cell has too few images for it.
    """
    if reason := _not_comparable(real, fake):
        return no_distances(reason, len(fake), infinity=infinity)
    some_real, some_fake = limited(real), limited(fake)
    figures = {
        "kid": _kid(some_real, some_fake, settings, *key),
        "fid": _frechet_figure(frechet(real.features, fake.features), real, fake, settings, *key, "fid", floor=0.0),
    }
    if infinity:
        if reason := too_few_for_infinity(real, fake):
            figures["fid_infinity"] = Figure.missing(reason, len(fake))
        else:
            extrapolated = frechet_infinity(real, fake, seeded(*key, "sizes"))
            figures["fid_infinity"] = _frechet_figure(extrapolated, real, fake, settings, *key, "fid_infinity")
    return {**figures, **support_figures(some_real, some_fake)}


def no_distances(reason: str, n: int, *, infinity: bool) -> dict[str, Figure]:
    """What `compare` gives where nothing can be compared."""
    missing = Figure.missing(reason, n)
    return {name: missing for name in DISTANCES if infinity or name != "fid_infinity"}


def compare_by_kid(real: ImageSet, fake: ImageSet, settings: EvaluationConfig, *key: object) -> Figure:
    """The `kid` of `compare` alone."""
    if reason := _not_comparable(real, fake):
        return Figure.missing(reason, len(fake))
    return _kid(limited(real), limited(fake), settings, *key)


def _not_comparable(real: ImageSet, fake: ImageSet) -> str | None:
    if min(len(real), len(fake)) < MIN_IMAGES:
        sizes = f"{len(real)} real and {len(fake)} to compare"
        return f"a comparison needs {MIN_IMAGES} images on each side, here are {sizes}"
    return "the features of the real images are all the same" if (real.features == real.features[0]).all() else None


def limited(images: ImageSet) -> ImageSet:
    """At most MAX_IMAGES of the images: the first of each cell, equally many of each."""
    if len(images) <= MAX_IMAGES:
        return images
    codes = np.unique(images.cells)
    rows = np.concatenate([np.flatnonzero(images.cells == code)[: MAX_IMAGES // len(codes)] for code in codes])
    return images.taken(np.sort(rows))


def _kid(real: ImageSet, fake: ImageSet, settings: EvaluationConfig, *key: object) -> Figure:
    figure = kid(real, fake, settings.num_bootstraps, seeded(*key, "kid")).figure(len(fake))
    if figure.value is None or permutation_units(real, fake) < MIN_UNITS:
        return figure
    return figure.tested(permutation_test(real, fake, settings.num_permutations, seeded(*key, "labels")))


def _frechet_figure(
    found: Frechet, real: ImageSet, fake: ImageSet, settings: EvaluationConfig, *key: object, floor: float = -math.inf
) -> Figure:
    """The distance with the interval of its linearised bootstrap. `floor` is the least that it can truly be."""
    generator = seeded(*key)
    draws = np.full(settings.num_bootstraps, found.value)
    for images, slopes in ((real, found.real_slopes), (fake, found.fake_slopes)):
        weights = owner_weights(images.owners, images.strata, settings.num_bootstraps, generator)
        if weights is None:
            return Figure.of(max(floor, found.value), len(fake))
        draws += weights @ owner_sums(slopes, images.owners)
    ends = interval(np.maximum(draws, floor))
    return Figure.of(max(floor, found.value), len(fake), ends)
