"""Smooth random fields defined in millimetres, so that a subject looks the same at any voxel size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Millimetres (RAS+) of the first and last voxel centre: the template's brain spans -72..72, -107..73, -71..82.
FIELD_OF_VIEW_MM = ((-82.0, 82.0), (-122.0, 84.0), (-78.0, 90.0))


@dataclass(frozen=True)
class Grid:
    """A voxel grid in RAS+ millimetres: `shape` (X, Y, Z), isotropic `spacing_mm`, `origin_mm` of voxel (0, 0, 0)."""

    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel to millimetre matrix, float64 (4, 4)."""
        affine = np.diag([self.spacing_mm, self.spacing_mm, self.spacing_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    def axis_mm(self, axis: int) -> FloatArray:
        """Positions of the voxel centres along one axis, float32 (n,)."""
        return (self.origin_mm[axis] + self.spacing_mm * np.arange(self.shape[axis])).astype(np.float32)


def working_grid(spacing_mm: float) -> Grid:
    """The grid of a phantom at `spacing_mm`, centred on the field of view.

    Raises ValueError if the spacing is not a finite number above 0 and up to 20 mm.
    """
    if not 0.0 < spacing_mm <= 20.0:
        raise ValueError(f"spacing_mm is {spacing_mm!r}: give a voxel size above 0 and up to 20 mm, such as 2.4")
    counts = [int(np.ceil((high - low) / spacing_mm)) + 1 for low, high in FIELD_OF_VIEW_MM]
    origin = [(low + high - (n - 1) * spacing_mm) / 2 for n, (low, high) in zip(counts, FIELD_OF_VIEW_MM, strict=True)]
    return Grid((counts[0], counts[1], counts[2]), float(spacing_mm), (origin[0], origin[1], origin[2]))


@lru_cache(maxsize=256)
def _weights(origin_mm: float, count: int, spacing_mm: float, axis: int, knot_mm: float) -> FloatArray:
    """Uniform cubic B-spline weights of `count` voxels on the knots of the field of view, float32 (count, knots)."""
    low, high = FIELD_OF_VIEW_MM[axis]
    num_knots = int(np.ceil((high - low) / knot_mm)) + 6
    position = (origin_mm + spacing_mm * np.arange(count) - low) / knot_mm + 2.5
    distance = np.abs(position[:, None] - np.arange(num_knots)[None, :])
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    weights: FloatArray = np.where(distance < 1.0, near, far).astype(np.float32)
    return weights


def smooth_noise(seed: int, grid: Grid, knot_mm: float, num_fields: int = 1) -> FloatArray:
    """Independent smooth random fields of about unit variance, float32 (num_fields, X, Y, Z).

    A uniform cubic B-spline with normal coefficients `knot_mm` apart. The field is a function of millimetres and of
    `seed`, not of the grid that samples it. `einsum` without BLAS keeps the bits free of the number of threads.
    """
    weights = [_weights(grid.origin_mm[axis], grid.shape[axis], grid.spacing_mm, axis, knot_mm) for axis in range(3)]
    knots = [w.shape[1] for w in weights]
    field = np.random.default_rng(seed).standard_normal((num_fields, *knots), dtype=np.float32)
    # The mean of the sum of squared cubic B-spline weights along an axis is 151/315.
    field *= np.float32((315.0 / 151.0) ** 1.5)
    field = np.einsum("fabc,xa->fxbc", field, weights[0])
    field = np.einsum("fxbc,yb->fxyc", field, weights[1])
    noise: FloatArray = np.einsum("fxyc,zc->fxyz", field, weights[2])
    return noise


def soft_step(distance_mm: FloatArray, width_mm: float = 2.0) -> FloatArray:
    """1 where `distance_mm` is well above 0, 0 well below, linear over `width_mm` between (partial volume)."""
    share: FloatArray = np.clip(0.5 + distance_mm / np.float32(width_mm), 0.0, 1.0)
    return share


def level_of_volume(field: FloatArray, weight: FloatArray, volume_ml: float, grid: Grid) -> np.float32:
    """The level below which `field` (N,) encloses `volume_ml` of voxels that count `weight` (N,), 0 to 1, each.

    The highest value of the field where there is less to enclose.
    """
    candidates = np.flatnonzero(weight > 0.0)
    if not candidates.size:
        return np.float32(field.min() - 1.0)
    order = candidates[np.argsort(field[candidates], kind="stable")]
    enclosed = np.cumsum(weight[order], dtype=np.float64) * (grid.spacing_mm**3 / 1000.0)
    return np.float32(field[order[min(int(np.searchsorted(enclosed, volume_ml)), order.size - 1)]])
