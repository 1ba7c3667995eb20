"""What a scan is once read, what its header tells before, and how a file fails to be one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrigen.errors import InputError

MAX_SCAN_BYTES = 1 << 30
"""The most that one scan may take up, where the caller says nothing else."""
MIN_VOXELS = 8
"""The fewest voxels along each axis of a scan, where the caller says nothing else."""

Affine = NDArray[np.float64]


class VolumeError(InputError):
    """A file that is no usable scan. `fault` is its class: missing, format, truncated (cut short, or damaged within),
    size, dimensions, type, geometry or voxels."""

    def __init__(self, message: str, fault: str = "format") -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: `array` float32 (X, Y, Z), `affine` float64 (4, 4) from voxel to RAS+ millimetres."""

    array: NDArray[np.float32]
    affine: Affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each array axis."""
        return _spacing(self.affine)


@dataclass(frozen=True, eq=False)
class ScanHeader:
    """What a file tells of a scan before its voxels are read; axes are those of the file.

    A voxel's value is `slope` times what is stored, plus `intercept`; the voxels of the first frame begin `offset`
    bytes into their file.
    """

    shape: tuple[int, int, int]
    affine: Affine
    """From voxel to RAS+ millimetres."""
    dtype: np.dtype[Any]
    """Of voxels as stored."""
    num_frames: int = 1
    tells_axes: bool = True
    """Whether the file itself says where its axes point; Analyze does not."""
    offset: int = 0
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each stored axis."""
        return _spacing(self.affine)

    @property
    def orientation(self) -> str:
        """Where each stored axis points, roughly: LPS is to the left, to the back and up."""
        return "".join(nibabel.aff2axcodes(self.affine))

    @property
    def frame_bytes(self) -> int:
        """Size of one frame as stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def _spacing(affine: Affine) -> tuple[float, float, float]:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def closest_ras(header: ScanHeader) -> tuple[NDArray[np.float32], NDArray[np.float32], Affine]:
    """Room for a scan's voxels with axes reordered and flipped to the closest of RAS+; an oblique grid stays oblique.

    Returns an array yet to be filled, C-contiguous; a view of it along the axes of the file; the array's affine.
    """
    stored = nibabel.io_orientation(header.affine)
    array = np.empty(np.take(header.shape, np.argsort(stored[:, 0])), np.float32)
    as_array = [[axis, 1] for axis in range(3)]
    view = nibabel.apply_orientation(array, nibabel.orientations.ornt_transform(as_array, stored))
    affine = header.affine @ nibabel.orientations.inv_ornt_aff(stored, header.shape)
    return array, view, affine
