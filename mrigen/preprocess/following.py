"""The brain of a head in another contrast than T1w, by that of the same person's T1w.

Registered rigidly by SimpleITK, and checked by the fine structure that two scans of one brain share."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.preprocess.contents import check_contents
from mrigen.preprocess.foreground import Mask, find_foreground
from mrigen.preprocess.intensity import correlation_ratio
from mrigen.preprocess.masks import area_mean, brain_on_grid, on_grid
from mrigen.preprocess.registration import GRID_MM, align, apart_mm, centre_of, on_straight_grid, turned_starts
from mrigen.volume import Volume, VolumeError
from mrigen.volume.scan import Affine

MAX_APART_MM = 2.0
"""How far apart the ends of two starts may put the brain's surface, and a scan on its T1w's grid what lies there."""
MIN_SHARED = 0.12
"""Of the variance of a scan's fine structure, the share that the T1w's explains. The patient of open_ms_data with a
T2w, FLAIR of whole heads has 0.23 and more, other people's scans put on a T1w 0.09 and less."""

_AROUND_MM = 12.0
"""Around the brain, where likeness counts: skull and scalp hold a head in its place."""
_BEYOND_MM = 40.0
"""Around a scan, what counts as air: else likeness grows as a brain is pushed out of the scan."""
_CLIMBED = 3
_FINE_MM = 4.0
_LEVELS = 16


@dataclass(frozen=True, eq=False)
class T1wHead:
    """A T1w scan, and where its `brain` (X, Y, Z) is."""

    path: str
    volume: Volume
    brain: Mask


def follow(volume: Volume, head: T1wHead) -> Mask:
    """The brain (X, Y, Z) of a scan: where the brain of the same person's T1w comes to lie on it.

    Raises VolumeError: of class `mask` if that is not found, or the two do not show the same brain.
    """
    try:
        to_scan, apart = register_to_scan(volume, head)
    except VolumeError as error:
        raise VolumeError(f"not found on its T1w {head.path}: {error}", "mask") from None
    if apart > MAX_APART_MM:
        told = f"two starts ended {apart:.0f} mm apart, {MAX_APART_MM:g} are allowed"
        raise VolumeError(f"not found on its T1w {head.path}: {told}", "mask")
    same_grid = volume.array.shape == head.volume.array.shape and np.allclose(volume.affine, head.volume.affine)
    if same_grid and apart_mm(to_scan, np.eye(4), centre_of(head.brain, volume.affine)) <= MAX_APART_MM:
        to_scan = np.eye(4)
    if (shared := shared_structure(volume, head, to_scan)) < MIN_SHARED:
        told = f"shares {shared:.1%} of its fine structure with it, {MIN_SHARED:.0%} are needed"
        raise VolumeError(f"not the brain of its T1w {head.path}: {told}", "mask")
    return brain_on_grid(Volume(head.brain.astype(np.float32), to_scan @ head.volume.affine), volume)


def register_to_scan(volume: Volume, head: T1wHead) -> tuple[Affine, float]:
    """The turn and shift from a T1w to a scan, and how many mm apart two starts put the brain's surface.

    Starts are where the headers say, and where the middles of both heads meet, each turned to all sides.
    """
    foreground, t1w = find_foreground(volume), find_foreground(head.volume)
    check_contents(volume, foreground.mask)
    fixed = on_straight_grid(head.volume, t1w.mask, _AROUND_MM)
    brain = on_grid(head.brain.astype(np.uint8), head.volume.affine, fixed) > 0
    around: Mask = ndimage.distance_transform_edt(~brain, sampling=GRID_MM) <= _AROUND_MM
    middle = centre_of(brain, fixed.affine)
    places = (middle, middle + foreground.centre_mm - t1w.centre_mm)
    starts = [start for place in places for start in turned_starts(middle, place)]
    moving = on_straight_grid(volume, foreground.mask, _BEYOND_MM)
    score = functools.partial(shared_structure, volume, head)
    return align(fixed, around, moving, starts, num_climbed=_CLIMBED, score=score)


def shared_structure(volume: Volume, head: T1wHead, to_scan: Affine) -> float:
    """The share, from 0 to 1, of a scan's fine structure that its T1w's explains, within the brain and on 2 mm.

    The correlation ratio of what both have beside their own mean around each place: folds and ventricles, whatever the
    contrast. Of two persons' brains hardly any of it agrees, however well their outlines do.
    """
    grid = on_straight_grid(head.volume, head.brain)

    def sampled(values: NDArray[np.float32], to_values: Affine) -> NDArray[np.float32]:
        return area_mean(values, np.linalg.inv(to_values) @ grid.affine, grid.array.shape)

    to_t1w, to_volume = head.volume.affine, np.linalg.inv(to_scan) @ volume.affine
    inside = sampled(head.brain.astype(np.float32), to_t1w) >= 0.5
    inside &= on_grid(np.ones(volume.array.shape, np.uint8), to_volume, grid) > 0
    if inside.sum() < _LEVELS:
        return 0.0
    expected, found = (
        _fine(sampled(scan.array, affine), inside) for scan, affine in ((head.volume, to_t1w), (volume, to_volume))
    )
    levels = np.searchsorted(np.quantile(expected, np.arange(1, _LEVELS) / _LEVELS), expected)
    return correlation_ratio(levels, found)


def _fine(values: NDArray[np.float32], inside: Mask) -> NDArray[np.float32]:
    """What values (N,) inside have beside their mean around; the extreme hundredths clipped, as vessels may be."""
    low, high = np.percentile(values[inside], (1, 99))
    kept, weights = np.where(inside, values.clip(low, high), 0), inside.astype(np.float32)
    mean, weight = (ndimage.gaussian_filter(array, _FINE_MM / GRID_MM)[inside] for array in (kept, weights))
    fine: NDArray[np.float32] = kept[inside] - mean / weight
    return fine
