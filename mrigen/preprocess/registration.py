"""Bias correction and registration to MNI space, by SimpleITK (the extra `mrigen[registration]`).

SimpleITK counts space in LPS+ and arrays as (Z, Y, X); what comes in and goes out here is RAS+ and (X, Y, Z).
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.preprocess.foreground import Foreground, Mask
from mrigen.preprocess.template import BRAIN_CENTRE_MM, load_template, template_overlap
from mrigen.volume import Volume, VolumeError

SHRINK = 4
"""The bias field is fitted on every fourth voxel, and applied to all."""
TEMPLATE_MM = 2
MIN_OVERLAP = 0.8
"""Of a whole head, the share of the template's brain that it must cover once registered; of a brain alone, the share of
it that must lie within the template's."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MARGIN_MM = 6.0
"""Around the template's brain, where the likeness counts."""
_SEED = 1


def check_extras(data: DataConfig) -> None:
    """Raise InputError where the settings need SimpleITK and it is not installed."""
    wanted = data.bias_correction != "none" or data.registration != "none"
    if wanted and importlib.util.find_spec("SimpleITK") is None:
        raise InputError(
            "data.bias_correction and data.registration need SimpleITK: pip install 'mrigen[registration]'"
        )


def _simpleitk() -> Any:
    """SimpleITK on one thread, so that sums are the same from run to run."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return SimpleITK


def _itk_image(sitk: Any, array: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """A SimpleITK image of an array (X, Y, Z) and its affine to RAS+ mm."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = _LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def correct_bias(volume: Volume, mask: Mask) -> Volume:
    """Divide by the smooth field that N4 fits within the mask (Tustison et al., IEEE Trans Med Imaging 29:1310, 2010).

    Raises VolumeError if the mask holds too little that is brighter than 0.
    """
    sitk = _simpleitk()
    inside = mask & (volume.array > 0)
    if inside.sum() < 1000:
        raise VolumeError(f"N4 needs positive intensities, and only {int(inside.sum())} voxels have them", "voxels")
    # Beyond the mask the logarithm must exist as well.
    image = _itk_image(sitk, np.maximum(volume.array, 1e-3 * float(volume.array[inside].mean())), volume.affine)
    factors = [min(SHRINK, max(1, size // 16)) for size in volume.array.shape]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50, 50, 50, 50])
    n4.Execute(
        sitk.Shrink(image, factors), sitk.Shrink(_itk_image(sitk, inside.astype(np.uint8), volume.affine), factors)
    )
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    field = np.exp(field - field[inside].mean())
    return Volume(np.ascontiguousarray(volume.array / field, np.float32), volume.affine)


def register(volume: Volume, foreground: Foreground, kind: Literal["rigid", "affine"]) -> tuple[Volume, Foreground]:
    """Move a scan of any modality onto the template in MNI space, by mutual information (Mattes et al., 2003).

    Only the affine changes; no voxel is interpolated. The foreground is then centred where the template's brain is.

    Raises VolumeError if the scan does not come to lie on the template.
    """
    sitk = _simpleitk()
    template = load_template(TEMPLATE_MM)
    fixed = _itk_image(sitk, template.t1.array, template.t1.affine)
    moving = _itk_image(sitk, volume.array, volume.affine)
    transform = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
    transform.SetCenter((_LPS[:3, :3] @ BRAIN_CENTRE_MM).tolist())
    transform.SetTranslation((_LPS[:3, :3] @ (foreground.centre_mm - BRAIN_CENTRE_MM)).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([0.5, 0.3, 0.08], _SEED)
    around = ndimage.binary_dilation(template.brain, iterations=round(_MARGIN_MM / TEMPLATE_MM))
    method.SetMetricFixedMask(_itk_image(sitk, around.astype(np.uint8), template.t1.affine))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 150, 0.6, 1e-5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(sitk.Cast(fixed, sitk.sitkFloat32), sitk.Cast(moving, sitk.sitkFloat32))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise VolumeError(f"not registered to the template: {reason}", "registration") from None
    to_scan = np.eye(4)
    to_scan[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    centre = np.array(transform.GetCenter())
    to_scan[:3, 3] = centre + np.array(transform.GetTranslation()) - to_scan[:3, :3] @ centre
    moved = Volume(volume.array, _LPS @ np.linalg.inv(to_scan) @ _LPS @ volume.affine)
    overlap = template_overlap(moved, foreground)
    if overlap < MIN_OVERLAP:
        told = f"they overlap by {overlap:.0%}, {MIN_OVERLAP:.0%} are needed"
        raise VolumeError(f"not registered to the template: {told}", "registration")
    return moved, Foreground(foreground.mask, foreground.stripped, np.array(BRAIN_CENTRE_MM))
