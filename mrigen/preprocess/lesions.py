"""Masks of lesions, from the grid of their own file to that of a scan."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mrigen.preprocess.foreground import Mask
from mrigen.volume import Volume, VolumeError


def lesions_on_grid(labels: Volume, volume: Volume) -> Mask:
    """Labels of lesions (any of 0.5 and above) in the space of a scan -> a mask on its grid, by the nearest voxel.

    Labels that are all 0 say that there is no lesion.

    Raises VolumeError: of class `mask` if there are lesions, and none of them lies within the scan.
    """
    inside = labels.array >= 0.5
    to_labels = np.linalg.inv(labels.affine) @ volume.affine
    lesions: Mask = ndimage.affine_transform(
        inside.astype(np.uint8), to_labels[:3, :3], to_labels[:3, 3], volume.array.shape, order=0, mode="constant"
    ).astype(bool)
    if inside.any() and not lesions.any():
        raise VolumeError("no lesion of the mask lies within the scan", "mask")
    return lesions
