"""What a radiologist would measure in a slice of a brain without its skull: bright areas and ventricles.

Thresholds on intensities, no diagnosis: on phantoms both follow the true areas closely (docs/evaluation.md), and real
and generated images are measured alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.labels import Modality
from mrigen.quality import FOREGROUND

BRIGHT = {Modality.FLAIR: (1.3, 4.0), Modality.T1CE: (1.8, 8.0)}
"""Modalities in which lesions are bright: so many times as bright as the median of tissue, so many mm or more below the
brain's surface, where vessels and cortex are bright too."""
DARK_FLUID = (Modality.T1W, Modality.T1CE, Modality.FLAIR)
"""Modalities whose fluid a threshold tells from tissue."""
LEAST_MM2 = 13.0
"""Smaller bright areas are noise."""
_SMOOTHED_MM = 1.0
_CLOSED_MM = 5.0
_SURFACE_MM, _CENTRE_MM = 8.0, 20.0
"""Fluid less far below the surface lies in sulci; what is a ventricle reaches the centre."""
_FLUID = 0.5
"""So many times the median, and darker, is fluid."""

Pixels = NDArray[Any]


@dataclass(frozen=True)
class BrainSlice:
    """A slice of a brain: `brightness` (H, W) from 0 to 1, and how far below the surface each pixel lies, in mm, 0
    outside."""

    brightness: Pixels
    depth_mm: Pixels
    spacing_mm: float

    @classmethod
    def of(cls, image: Pixels, spacing_mm: float) -> Self:
        """Of an image (H, W) in [-1, 1]: the largest connected foreground is the brain, with what it encloses."""
        smoothed = ndimage.gaussian_filter(np.asarray(image, np.float32), _SMOOTHED_MM / spacing_mm)
        regions, _ = ndimage.label(ndimage.binary_opening(image > FOREGROUND))
        sizes = np.bincount(regions.ravel())[1:]
        brain = regions == 1 + np.argmax(sizes) if len(sizes) else np.zeros(image.shape, bool)
        margin = max(1, round(_CLOSED_MM / spacing_mm))
        closed = ndimage.binary_closing(np.pad(brain, margin), iterations=margin)[margin:-margin, margin:-margin]
        depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(closed), sampling=spacing_mm)
        return cls((smoothed + 1.0) / 2.0, np.asarray(depth), spacing_mm)

    def bright_mm2(self, modality: Modality) -> float | None:
        """Area in mm^2 of what is bright: oedema, plaques and hyperintensities in FLAIR, what enhances in T1ce. None in
        other modalities."""
        if modality not in BRIGHT:
            return None
        times, depth_mm = BRIGHT[modality]
        bright = (self.depth_mm > depth_mm) & (self.brightness > times * self._tissue(depth_mm))
        regions, count = ndimage.label(bright)
        areas = ndimage.sum_labels(bright, regions, range(1, count + 1)) * self.spacing_mm**2
        return float(areas[areas >= LEAST_MM2].sum())

    def ventricle_mm2(self, modality: Modality) -> float | None:
        """Area in mm^2 of dark regions deep in the brain that reach its centre. None where fluid is not dark."""
        if modality not in DARK_FLUID:
            return None
        fluid = (self.depth_mm > _SURFACE_MM) & (self.brightness < _FLUID * self._tissue(_SURFACE_MM))
        regions, _ = ndimage.label(fluid)
        central = np.unique(regions[fluid & (self.depth_mm > _CENTRE_MM)])
        return float(np.isin(regions, central).sum() * self.spacing_mm**2)

    def _tissue(self, depth_mm: float) -> float:
        """The median brightness of what is no fluid below a depth; NaN, which nothing exceeds, where nothing lies
        there."""
        inside = self.brightness[self.depth_mm > depth_mm]
        return float(np.median(inside[inside >= _FLUID * np.median(inside)])) if len(inside) else float("nan")
