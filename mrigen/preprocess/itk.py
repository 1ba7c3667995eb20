"""SimpleITK (the extra `mrigen[registration]`), which counts space in LPS+ and arrays as (Z, Y, X).

All else here is RAS+ and (X, Y, Z)."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrigen.config import DataConfig
from mrigen.errors import InputError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def has_simpleitk() -> bool:
    """Whether SimpleITK is installed."""
    return importlib.util.find_spec("SimpleITK") is not None


def check_extras(data: DataConfig) -> None:
    """Raise InputError where the settings need SimpleITK and it is not installed."""
    wanted = data.bias_correction != "none" or data.registration != "none"
    if wanted and not has_simpleitk():
        raise InputError(
            "data.bias_correction and data.registration need SimpleITK: pip install 'mrigen[registration]'"
        )


def simpleitk() -> Any:
    """SimpleITK on one thread, so that sums are the same from run to run."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return SimpleITK


def itk_image(sitk: Any, array: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """A SimpleITK image of an array (X, Y, Z) and its affine to RAS+ mm."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
