"""Intensities: their scale, the filter before sampling, and a few of them to look at."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mrigen.preprocess.foreground import Foreground, Mask
from mrigen.volume import Volume, VolumeError

SHOWN_INTENSITIES = 20_000
"""The most intensities of one scan that a histogram is drawn of."""


def normalise(volume: Volume, foreground: Foreground, percentiles: tuple[float, float]) -> NDArray[np.float32]:
    """Intensities with the foreground's `percentiles` at -1 and 1, clipped; background at -1.

    Raises VolumeError if the two percentiles are the same.
    """
    low, high = np.percentile(volume.array[foreground.mask], percentiles)
    if not high > low:
        raise VolumeError(f"no contrast: percentiles {percentiles} of the foreground are both {low:g}", "voxels")
    scaled = np.clip((volume.array - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0)
    return np.where(foreground.mask, scaled, -1.0).astype(np.float32)


def smoothing_sigmas(spacing_mm: tuple[float, float, float], target_mm: float) -> list[float]:
    """Standard deviations, in voxels, of the filter that keeps sampling at `target_mm` from aliasing.

    That which turns a voxel's Gaussian response into one of the target's size (Cardoso et al., MICCAI 2015); 0 where
    the target is the finer one.
    """
    ratios = [max(1.0, target_mm / spacing) for spacing in spacing_mm]
    return [math.sqrt((ratio**2 - 1.0) / (8.0 * math.log(2.0))) for ratio in ratios]


def correlation_ratio(levels: NDArray[np.int_], values: NDArray[np.floating]) -> float:
    """The share of the variance of values (N,) between their levels (Roche et al., MICCAI 1998); 0 of none."""
    counts = np.bincount(levels)
    means = np.bincount(levels, values) / np.maximum(counts, 1)
    total = values.var(dtype=np.float64)
    between = (counts * (means - values.mean(dtype=np.float64)) ** 2).sum()
    return float(between / (len(values) * total)) if total > 0 else 0.0


def some_intensities(array: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """At most `SHOWN_INTENSITIES` values of the masked voxels, evenly strided; float32 (N,)."""
    values = array[mask]
    return values[:: max(1, math.ceil(len(values) / SHOWN_INTENSITIES))]
