"""Masks of brains and lesions, from the grid of their own file to that of a scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.preprocess.foreground import Mask, voxel_litres
from mrigen.volume import Volume, VolumeError

Shares = NDArray[np.float32]

MIN_LITRES, MAX_LITRES = 0.3, 2.2
"""A mask outside of this is not that of a brain; those of children's brains are within."""
MIN_INSIDE = 0.8
"""Share of a brain mask that must lie within the scan."""


def on_grid(values: NDArray[Any], affine: NDArray[np.float64], target: Volume, *, order: int = 0) -> NDArray[Any]:
    """`values` (X, Y, Z) with their `affine` -> on the grid of another volume in the same space; 0 beyond them."""
    to_values = np.linalg.inv(affine) @ target.affine
    sampled: NDArray[Any] = ndimage.affine_transform(
        values, to_values[:3, :3], to_values[:3, 3], target.array.shape, order=order, mode="constant", cval=0
    )
    return sampled


def brain_on_grid(mask: Volume, volume: Volume) -> Mask:
    """A brain mask (above half of its largest value) -> the voxels of a scan of which at least half is brain.

    Raises VolumeError: of class `mask` if it does not lie on the volume or is no brain by its size.
    """
    inside = mask.array > 0.5 * float(mask.array.max())
    litres = inside.sum() * voxel_litres(mask.affine)
    if not MIN_LITRES <= litres <= MAX_LITRES:
        raise VolumeError(f"a brain mask of {litres:.2f} litres: a brain has {MIN_LITRES} to {MAX_LITRES}", "mask")
    to_mask = np.linalg.inv(mask.affine) @ volume.affine
    brain: Mask = area_mean(inside.astype(np.float32), to_mask, volume.array.shape) >= 0.5
    share = brain.sum() * voxel_litres(volume.affine) / litres
    if share < MIN_INSIDE:
        raise VolumeError(f"{share:.0%} of the brain mask lies within the scan, {MIN_INSIDE:.0%} are needed", "mask")
    return brain


def area_mean(values: NDArray[Any], to_values: NDArray[np.float64], shape: tuple[int, ...]) -> Shares:
    """Mean of `values` (X, Y, Z) over each cell of a grid of `shape`, three axes, which `to_values` leads to them from.

    Taken at as many points of the cell as it is voxels long, linear between voxels, so that totals stay; 0 beyond them.
    """
    if values.shape == shape and np.allclose(to_values, np.eye(4), rtol=0.0, atol=1e-6):
        return values.astype(np.float32)
    matrix, corner = to_values[:3, :3], to_values[:3, 3]
    counts = np.ceil(np.linalg.norm(matrix, axis=0) - 1e-3).astype(int).clip(1)
    mean = np.zeros(shape, np.float32)
    for point in np.ndindex(*counts):
        offset = corner + matrix @ ((np.array(point) + 0.5) / counts - 0.5)
        mean += ndimage.affine_transform(values, matrix, offset, shape, np.float32, order=1, mode="grid-constant")
    return mean / np.float32(counts.prod())


def lesions_on_grid(labels: Volume, volume: Volume) -> Shares:
    """Labels of lesions (any of 0.5 and above) -> the share of each voxel of a scan that is lesion, float32.

    Labels that are all 0 say that there is no lesion.

    Raises VolumeError: of class `mask` if there are lesions, and none of them lies within the scan.
    """
    inside = labels.array >= 0.5
    to_labels = np.linalg.inv(labels.affine) @ volume.affine
    lesions = area_mean(inside.astype(np.float32), to_labels, volume.array.shape)
    if inside.any() and not lesions.any():
        raise VolumeError("no lesion of the mask lies within the scan", "mask")
    return lesions


def mask_of_shares(shares: Shares, owed: float = 0.0) -> tuple[Mask, float]:
    """The share of each pixel that is lesion -> a mask, in which every lesion has as many pixels as its shares sum up
    to, its fullest ones; what rounding leaves over goes to the next. `owed` is what earlier masks left over; gives what
    this one does.
    """
    shares = shares.round(3)  # so that equal pixels stay so, whatever order the axes of the scan have
    mask = np.zeros(shares.shape, bool)
    lesions, _ = ndimage.label(shares > 0, np.ones([3] * shares.ndim))
    for places in ndimage.value_indices(lesions, ignore_value=0).values():
        owed += float(shares[places].sum())
        fullest = np.argsort(-shares[places], kind="stable")[: math.floor(owed + 0.5)]
        mask[tuple(axis[fullest] for axis in places)] = True
        owed -= len(fullest)
    return mask, owed
