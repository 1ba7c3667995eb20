"""Masks of brains and lesions, from the grid of their own file to that of a scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.preprocess.foreground import Mask, voxel_litres
from mrigen.volume import Volume, VolumeError

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
    """A brain mask (above half of its largest value) -> on the grid of a scan, by the nearest voxel.

    Raises VolumeError: of class `mask` if it does not lie on the volume or is no brain by its size.
    """
    inside = mask.array > 0.5 * float(mask.array.max())
    litres = inside.sum() * voxel_litres(mask.affine)
    if not MIN_LITRES <= litres <= MAX_LITRES:
        raise VolumeError(f"a brain mask of {litres:.2f} litres: a brain has {MIN_LITRES} to {MAX_LITRES}", "mask")
    brain: Mask = on_grid(inside.astype(np.uint8), mask.affine, volume).astype(bool)
    share = brain.sum() * voxel_litres(volume.affine) / litres
    if share < MIN_INSIDE:
        raise VolumeError(f"{share:.0%} of the brain mask lies within the scan, {MIN_INSIDE:.0%} are needed", "mask")
    return brain


def lesions_on_grid(labels: Volume, volume: Volume) -> Mask:
    """Labels of lesions (any of 0.5 and above) -> a mask on the grid of a scan, by the nearest voxel.

    Labels that are all 0 say that there is no lesion.

    Raises VolumeError: of class `mask` if there are lesions, and none of them lies within the scan.
    """
    inside = labels.array >= 0.5
    lesions: Mask = on_grid(inside.astype(np.uint8), labels.affine, volume).astype(bool)
    if inside.any() and not lesions.any():
        raise VolumeError("no lesion of the mask lies within the scan", "mask")
    return lesions
