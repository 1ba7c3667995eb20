"""Whether a generated image can be a brain scan at all, by what is true of every one, and by the training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOREGROUND = -0.9
"""What is brighter, of values from -1 to 1, is foreground."""
EMPTY_SHARE = 0.01
"""An image with less foreground is empty."""
SATURATED_SHARE = 0.5
"""An image of whose foreground more has the highest value is saturated."""
LEAST_MARGIN = 0.02
QUANTILES = (0.005, 0.995)

ImageLimits = Mapping[str, tuple[float, float]]
"""For `area`, the share of foreground, and `intensity`, its mean: quantiles of training images."""


def image_facts(images: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Images (N, *spatial) in [-1, 1] -> `area` and `intensity` (N,); the intensity of one without foreground is -1."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    foreground = flat > FOREGROUND
    area = foreground.mean(axis=1)
    total = np.where(foreground, flat, 0.0).sum(axis=1)
    count = foreground.sum(axis=1)
    return {"area": area, "intensity": np.where(count > 0, total / np.maximum(count, 1), -1.0)}


def limits_of(facts: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[float, float]]:
    """The quantiles of the facts of training images."""
    low_high = {name: np.quantile(values, QUANTILES).round(4).tolist() for name, values in facts.items()}
    return {name: (low, high) for name, (low, high) in low_high.items()}


def fault_of(image: NDArray[Any], limits: ImageLimits | None) -> str | None:
    """Why an image (*spatial) in [-1, 1] is none: `not finite`, `empty`, `saturated`, `area` or `intensity`.

    The latter two lie further from the quantiles of training images than half of what these span; without `limits` they
    are not asked for.
    """
    if not np.isfinite(image).all():
        return "not finite"
    facts = {name: float(values[0]) for name, values in image_facts(image[None]).items()}
    if facts["area"] < EMPTY_SHARE:
        return "empty"
    if (image >= 1.0).sum() > SATURATED_SHARE * facts["area"] * image.size:
        return "saturated"
    for name, (low, high) in (limits or {}).items():
        margin = max((high - low) / 2, LEAST_MARGIN)
        if not low - margin <= facts[name] <= high + margin:
            return name
    return None
