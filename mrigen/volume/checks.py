"""What makes a scan usable, whatever the format of its file. Each check raises VolumeError that names the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from mrigen.volume.scan import Affine, ScanHeader, VolumeError

MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 20.0
MAX_ORIGIN_MM = 1e5
"""Beyond 100 m from the scanner's centre an affine is damage."""
MIN_CONTRAST, MAX_INTENSITY = 1e-18, 1e18
"""Between these, differences and squares of intensities are finite in float32, and so are their inverses."""


def check_shape(shape: Sequence[int], path: Path, min_voxels: int) -> tuple[int, int, int]:
    """A scan is 3-D with `min_voxels` or more along each axis. Returns the shape."""
    if len(shape) != 3:
        raise VolumeError(f"{path}: {len(shape)}-D of shape {tuple(shape)}: a scan must be 3-D", "dimensions")
    if min(shape) < min_voxels:
        raise VolumeError(f"{path}: shape {tuple(shape)}: each axis needs at least {min_voxels} voxels", "dimensions")
    return shape[0], shape[1], shape[2]


def check_frame(header: ScanHeader, path: Path, frame: int | None) -> None:
    """A file of several frames is read one by one, by the frame's number."""
    if frame is None and header.num_frames != 1:
        shape = (*header.shape, header.num_frames)
        raise VolumeError(f"{path}: 4-D of shape {shape}: a scan is 3-D: split it, or name a frame", "dimensions")
    if frame is not None and not 0 <= frame < header.num_frames:
        raise VolumeError(f"{path}: no frame {frame}: frames are 0 to {header.num_frames - 1}", "dimensions")


def check_size(header: ScanHeader, path: Path, max_bytes: int) -> None:
    """All frames together, as float32 or as stored, whichever is more, stay within `max_bytes`."""
    claimed = math.prod(header.shape) * header.num_frames * max(4, header.dtype.itemsize)
    check_bytes(claimed, "of voxels by its header", path, max_bytes)


def check_bytes(count: int, what: str, place: object, max_bytes: int) -> None:
    """What is of a scan at `place`, such as its files in storage, stays within `max_bytes`."""
    if count > max_bytes:
        told = f"{count / 2**20:.4g} MB {what}, over the limit of {max_bytes / 2**20:.4g} MB"
        raise VolumeError(f"{place}: {told}", "size")


def check_spacing(spacing_mm: Sequence[float], path: Path, origin: str) -> None:
    """Voxels are between 0.05 and 20 mm long; `origin` names what said so."""
    if not all(MIN_SPACING_MM <= length <= MAX_SPACING_MM for length in spacing_mm):  # NaN is refused too
        told = " x ".join(f"{length:.4g}" for length in spacing_mm)
        limits = f"{MIN_SPACING_MM} to {MAX_SPACING_MM:g}"
        raise VolumeError(f"{path}: voxels of {told} mm by its {origin}: expected {limits}", "geometry")


def check_affine(affine: Affine, path: Path, origin: str) -> Affine:
    """An affine is finite, near the scanner, of usual spacing, and its axes can be told apart; `origin` names what told
    it."""
    if not np.all(np.isfinite(affine)):
        raise VolumeError(f"{path}: non-finite {origin} in the header", "geometry")
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(lengths.tolist(), path, origin)
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 0.1:
        raise VolumeError(f"{path}: singular {origin}: its axes do not span space", "geometry")
    # Put into RAS+ order it must stay there: of axes so askew that two tie, nobody knows which is which.
    ordered = affine @ nibabel.orientations.inv_ornt_aff(nibabel.io_orientation(affine), (1, 1, 1))
    if not np.array_equal(nibabel.io_orientation(ordered), [[0, 1], [1, 1], [2, 1]]):
        raise VolumeError(f"{path}: ambiguous {origin}: its axes lie too askew to tell which is which", "geometry")
    if np.any(np.abs(affine[:3, 3]) > MAX_ORIGIN_MM):
        told = " ".join(f"{place:.4g}" for place in affine[:3, 3])
        raise VolumeError(f"{path}: its first voxel lies at {told} mm by its {origin}", "geometry")
    return affine


def check_voxels(array: NDArray[np.float32], path: Path, *, allow_constant: bool) -> None:
    """Intensities are finite, of a size that float32 can calculate with, and, but for masks, not all the same."""
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # min and max of an array with a NaN are NaN
        raise VolumeError(f"{path}: NaN or infinite voxels, or values beyond float32", "voxels")
    if max(-low, high) > MAX_INTENSITY:
        raise VolumeError(f"{path}: voxels from {low:g} to {high:g}: intensities beyond {MAX_INTENSITY:g}", "voxels")
    if high - low < MIN_CONTRAST and not allow_constant:
        raise VolumeError(f"{path}: every voxel is {low:g}", "voxels")
