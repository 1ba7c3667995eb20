"""All figures that compare two sets of images by their features, each with its N and its interval."""

from __future__ import annotations

import math

import numpy as np

from mrigen.config import EvaluationConfig
from mrigen.metrics.distribution import Frechet, frechet
from mrigen.metrics.figure import Figure
from mrigen.metrics.infinity import frechet_infinity, too_few_for_infinity
from mrigen.metrics.kernel import MIN_UNITS, NO_KID, kid, permutation_test, permutation_units
from mrigen.metrics.precision import NUM_NEIGHBOURS, support_with_intervals
from mrigen.metrics.resampling import ImageSet, interval, owner_sums, owner_weights, seeded

DISTANCES = ("kid", "fid", "fid_infinity", "precision", "recall", "density", "coverage")

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
    names = [name for name in DISTANCES if infinity or name != "fid_infinity"]
    if reason := too_few(len(real), len(fake)):
        return {name: Figure.missing(reason, len(fake)) for name in names}
    if bool((real.features == real.features[0]).all()):
        return {name: Figure.missing("the features of the real images are all the same", len(fake)) for name in names}
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
    return {**figures, **_support_figures(some_real, some_fake)}


def too_few(num_real: int, num_fake: int) -> str | None:
    """Why two sets of these sizes are not compared, or None."""
    if min(num_real, num_fake) >= MIN_IMAGES:
        return None
    return f"a comparison needs {MIN_IMAGES} images on each side, here are {num_real} real and {num_fake} to compare"


def no_p_value(real: ImageSet, fake: ImageSet) -> bool:
    """Whether there are too few subjects for the permutation test."""
    return permutation_units(real, fake) < MIN_UNITS


def limited(images: ImageSet) -> ImageSet:
    """At most MAX_IMAGES of the images: the first of each cell, equally many of each."""
    if len(images) <= MAX_IMAGES:
        return images
    codes = np.unique(images.cells)
    rows = np.concatenate([np.flatnonzero(images.cells == code)[: MAX_IMAGES // len(codes)] for code in codes])
    return images.taken(np.sort(rows))


def _kid(real: ImageSet, fake: ImageSet, settings: EvaluationConfig, *key: object) -> Figure:
    found = kid(real, fake, settings.num_bootstraps, seeded(*key, "kid"))
    if math.isnan(found.value):
        return Figure.missing(NO_KID, len(fake))
    figure = Figure.of(found.value, len(fake), None if found.draws is None else interval(found.draws))
    if no_p_value(real, fake):
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


def _support_figures(real: ImageSet, fake: ImageSet) -> dict[str, Figure]:
    found = support_with_intervals(real, fake, NUM_NEIGHBOURS)
    figures = {}
    for name in ("precision", "recall", "density", "coverage"):
        ends = (getattr(found.lows, name), getattr(found.highs, name)) if found.lows else None
        figures[name] = Figure.of(getattr(found.figures, name), len(fake), ends)
    return figures
