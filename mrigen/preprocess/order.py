"""All that is done to a scan, in its order: foreground, brain, bias field, registration, intensities, images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrigen.config import DataConfig
from mrigen.preprocess.bias import correct_bias
from mrigen.preprocess.brain_mask import find_brain, needs_brain
from mrigen.preprocess.contents import check_contents
from mrigen.preprocess.foreground import Foreground, Mask, box_centre, find_foreground
from mrigen.preprocess.intensity import normalise, some_intensities
from mrigen.preprocess.masks import Shares
from mrigen.preprocess.outline import outlined_png
from mrigen.preprocess.registration import register
from mrigen.preprocess.sampling import TrainingImage, scan_images
from mrigen.preprocess.template import BRAIN_CENTRE_MM
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
    overlap: float | None = None
    """Of a registered scan, the overlap of its brain with the template's."""
    picture: bytes | None = None
    """Of a registered scan, a PNG with the template's outline."""


def prepare_images(
    volume: Volume, data: DataConfig, *, subject: str, brain: Mask | None = None, lesions: Shares | None = None
) -> PreparedScan:
    """Make the images of one scan; `brain` (X, Y, Z) is where its brain is, as `find_brain` tells, `lesions` the share
    of each voxel that is lesion, where that is known.

    Raises VolumeError if it is no scan, or a step cannot be done.
    """
    foreground = find_foreground(volume)
    check_contents(volume, foreground.mask)
    if brain is None and needs_brain(data):
        brain = find_brain(volume, data)
    if brain is not None and data.head == "strip":
        foreground = Foreground(brain, True, box_centre(brain, volume.affine))
    before = some_intensities(volume.array, foreground.mask)
    if data.bias_correction == "n4":
        volume = correct_bias(volume, foreground.mask)
    overlap = picture = None
    if brain is not None and data.registration != "none":
        volume, overlap = register(volume, brain, data.registration)
        picture = outlined_png(volume, foreground.mask)
        foreground = replace(foreground, centre_mm=np.array(BRAIN_CENTRE_MM))
    scaled = normalise(volume, foreground, data.clip_percentiles)
    images = scan_images(volume, data, subject=subject, foreground=foreground, scaled=scaled, lesions=lesions)
    after = some_intensities(scaled, foreground.mask)
    return PreparedScan(images, foreground.stripped, before, after, overlap, picture)
