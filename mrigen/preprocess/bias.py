"""Bias correction by SimpleITK."""

from __future__ import annotations

import numpy as np

from mrigen.preprocess.foreground import Mask
from mrigen.preprocess.itk import itk_image, simpleitk
from mrigen.volume import Volume, VolumeError

SHRINK = 4
"""The bias field is fitted on every fourth voxel, and applied to all."""


def correct_bias(volume: Volume, mask: Mask) -> Volume:
    """Divide by the smooth field that N4 fits within the mask (Tustison et al., IEEE Trans Med Imaging 29:1310, 2010).

    Raises VolumeError if the mask holds too little that is brighter than 0.
    """
    sitk = simpleitk()
    inside = mask & (volume.array > 0)
    if inside.sum() < 1000:
        raise VolumeError(f"N4 needs positive intensities, and only {int(inside.sum())} voxels have them", "voxels")
    # Beyond the mask the logarithm must exist as well.
    image = itk_image(sitk, np.maximum(volume.array, 1e-3 * float(volume.array[inside].mean())), volume.affine)
    factors = [min(SHRINK, max(1, size // 16)) for size in volume.array.shape]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50, 50, 50, 50])
    n4.Execute(
        sitk.Shrink(image, factors), sitk.Shrink(itk_image(sitk, inside.astype(np.uint8), volume.affine), factors)
    )
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    field = np.exp(field - field[inside].mean())
    return Volume(np.ascontiguousarray(volume.array / field, np.float32), volume.affine)
