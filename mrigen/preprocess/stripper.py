"""Skull-stripping of T1w scans by deepbet (Fisch et al., Comput Biol Med 179:108845, 2024), the extra `mrigen[strip]`.

Its wheel carries the weights (MIT licence), so that nothing is downloaded."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from importlib import metadata
from typing import Any

import nibabel
import numpy as np

from mrigen.preprocess.foreground import Mask, voxel_litres
from mrigen.preprocess.masks import brain_on_grid
from mrigen.process.threads import one_thread
from mrigen.volume import Volume, VolumeError

BRAIN_LITRES = (0.7, 2.1)
BRAIN_AXES_MM = (85.0, 215.0)
"""Lengths of the axes of the ellipsoid with a brain's second moments."""
MIN_ROUNDNESS = 0.8
"""Of that ellipsoid's volume, the share that a brain has; those of whole heads had 0.9 and more."""


def stripper_version() -> str:
    """Which stripper is installed; empty if none is."""
    return f"deepbet {metadata.version('deepbet')}" if importlib.util.find_spec("deepbet") else ""


@lru_cache(maxsize=1)
def _network() -> Any:
    import deepbet

    return deepbet.BrainExtraction(no_gpu=True)


def strip_t1w(volume: Volume) -> Mask:
    """The brain (X, Y, Z) of a whole head in T1w.

    Raises VolumeError: of class `mask` if what is found is no brain by its volume or shape.
    """
    try:
        with one_thread():
            _, mask, _ = _network().run(nibabel.Nifti1Image(volume.array, volume.affine))
    except (AssertionError, ValueError, IndexError):
        raise VolumeError(f"{stripper_version()} finds no brain", "mask") from None
    found = Volume(np.asarray(mask.dataobj, np.float32), volume.affine)
    if told := _unlike_a_brain(found):
        raise VolumeError(f"{stripper_version()} finds no brain, but {told}", "mask")
    return brain_on_grid(found, volume)


def _unlike_a_brain(mask: Volume) -> str | None:
    """What a mask has that no brain has, in words."""
    places = np.argwhere(mask.array > 0.5)
    litres = len(places) * voxel_litres(mask.affine)
    low, high = BRAIN_LITRES
    if not low <= litres <= high:
        return f"{litres:.2f} litres: a brain has {low} to {high}"
    moments = np.linalg.eigvalsh(np.cov((places @ mask.affine[:3, :3].T).T))
    axes = 2 * np.sqrt(5 * moments)
    low, high = BRAIN_AXES_MM
    if axes[0] < low or axes[2] > high:
        return f"axes of {axes[0]:.0f} to {axes[2]:.0f} mm: a brain's have {low:g} to {high:g}"
    roundness = litres / (np.pi / 6 * axes.prod() * 1e-6)
    if roundness < MIN_ROUNDNESS:
        return f"something {roundness:.2f} times as full as an ellipsoid of its extent: a brain has {MIN_ROUNDNESS}"
    return None
