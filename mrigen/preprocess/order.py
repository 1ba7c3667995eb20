"""All that is done to a scan, in its order: foreground, brain, bias field, registration, intensities, images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrigen.config import DataConfig
from mrigen.preprocess.brain_mask import strip_head
from mrigen.preprocess.contents import check_contents
from mrigen.preprocess.foreground import find_foreground
from mrigen.preprocess.intensity import normalise, some_intensities
from mrigen.preprocess.masks import Share
from mrigen.preprocess.registration import correct_bias, register
from mrigen.preprocess.sampling import TrainingImage, scan_images
from mrigen.volume import Volume


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """What became of a scan."""

    images: list[TrainingImage]
    stripped: bool
    """Whether the images show the brain alone."""
    raw_intensities: NDArray[np.float32]
    scaled_intensities: NDArray[np.float32]
    """Some of the foreground's, before and after all."""


def prepare_images(
    volume: Volume, data: DataConfig, *, subject: str, mask: Volume | None = None, lesions: Share | None = None
) -> PreparedScan:
    """Make the images of one scan; `mask` is its brain mask, on any grid, `lesions` the share of each voxel that is
    lesion, where that is known.

    Raises VolumeError if it is no scan, or a step cannot be done.
    """
    foreground = find_foreground(volume)
    check_contents(volume, foreground.mask)
    if data.head == "strip":
        foreground = strip_head(volume, foreground, mask, data)
    before = some_intensities(volume.array, foreground.mask)
    if data.bias_correction == "n4":
        volume = correct_bias(volume, foreground.mask)
    if data.registration != "none":
        volume, foreground = register(volume, foreground, data.registration)
    scaled = normalise(volume, foreground, data.clip_percentiles)
    images = scan_images(volume, data, subject=subject, foreground=foreground, scaled=scaled, lesions=lesions)
    return PreparedScan(images, foreground.stripped, before, some_intensities(scaled, foreground.mask))
