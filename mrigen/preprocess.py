"""From a scan to training images: foreground, intensities, slices on a fixed grid. Pure functions.

Slices are sampled in scanner space (RAS+ millimetres), so an image does not depend on the order, the direction
or the tilt of the axes in which the file stored its voxels.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.config import DataConfig
from mrigen.volume import Volume, VolumeError

STRIPPED_MAX_LITRES = 2.2
"""A foreground no larger than this is a brain without its skull: brains have 1.0 to 1.8 litres with their fluid,
heads more than 2.5."""
BRAIN_HEIGHT_MM = 165.0
"""The bounding box reaches down from the top no further than this, so that necks do not lower the centre."""

PIECE_SHARE = 0.05
"""Pieces of a head this large against the largest are kept; smaller ones are noise and ghosts."""

Mask = NDArray[np.bool_]
Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Foreground:
    """What of a volume is head: `mask` (X, Y, Z); `stripped` if it is a brain alone; `centre_mm` (3,) of its
    bounding box in RAS+."""

    mask: Mask
    stripped: bool
    centre_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SliceImage:
    """One axial image: `image` float32 (S, S) as [x, y] in RAS+ with values in [-1, 1]; `slice_mm` its height above
    the brain's centre; `affine` from (x, y, 0) pixels to the scan's RAS+ millimetres."""

    image: NDArray[np.float32]
    slice_mm: float
    affine: Affine


def split_of(subject: str, data: DataConfig) -> str:
    """`train`, `val` or `test`, by a hash of the subject alone: adding subjects moves nobody."""
    position = _hash_fraction("split", subject)
    if position < data.test_fraction:
        return "test"
    return "val" if position < data.test_fraction + data.val_fraction else "train"


def slice_heights(data: DataConfig, subject: str) -> list[float]:
    """Heights of a subject's slices: `slice_step_mm` apart, from an offset below one step that is the subject's own."""
    low, high = data.slice_range_mm
    start = low + data.slice_step_mm * _hash_fraction("slices", subject)
    count = max(0, math.floor((high - start) / data.slice_step_mm + 1e-9) + 1)
    return [start + k * data.slice_step_mm for k in range(count)]


def _hash_fraction(purpose: str, subject: str) -> float:
    """A number in [0, 1) that only the arguments decide."""
    digest = hashlib.sha256(f"mrigen {purpose} {subject}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def slice_affine(data: DataConfig, slice_mm: float) -> Affine:
    """Affine of a synthetic (X, Y, 1) slice: cubic voxels, centred in-plane at 0, `slice_mm` high."""
    return _slice_affine(data, np.array([0.0, 0.0, slice_mm]))


def _slice_affine(data: DataConfig, centre_mm: NDArray[np.float64]) -> Affine:
    affine = np.diag([data.spacing_mm] * 3 + [1.0])
    half = (data.image_size - 1) / 2 * data.spacing_mm
    affine[:3, 3] = centre_mm - np.array([half, half, 0.0])
    return affine


def find_foreground(volume: Volume) -> Foreground:
    """Tell head from background.

    Where all but a brain's worth of voxels equal the value of the border, the skull was stripped and what differs
    from it is the brain. Otherwise Otsu's threshold (IEEE Trans SMC 9:62, 1979) parts head from air. Holes are filled.

    Raises:
        VolumeError: if nothing stands out.
    """
    array = volume.array
    voxel_litres = abs(float(np.linalg.det(volume.affine[:3, :3]))) * 1e-6
    mask = array != _border_value(array)
    stripped = bool(mask.sum() * voxel_litres <= STRIPPED_MAX_LITRES)
    mask = ndimage.binary_fill_holes(mask) if stripped else _head(array > _otsu_threshold(array))
    if not mask.any():
        raise VolumeError("no foreground: nothing stands out from the background", "voxels")
    return Foreground(mask, stripped, _box_centre(mask, volume.affine))


def _border_value(array: NDArray[np.float32]) -> np.float32:
    """The most frequent value on the six faces of the grid."""
    faces = [np.take(array, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    border: np.float32 = values[np.argmax(counts)]
    return border


def _otsu_threshold(array: NDArray[np.float32]) -> float:
    """The intensity that best parts the histogram in two; the brightest 0.5 % are clipped first."""
    top = float(np.percentile(array, 99.5))
    counts, edges = np.histogram(np.minimum(array, top), bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between[:-1]))])


def _head(bright: Mask) -> Mask:
    """The large pieces of what is brighter than air (skin and brain can be two), with all that they enclose.

    What a scan that ends at chin or crown leaves open is closed within planes across each axis.
    """
    labels, count = ndimage.label(bright)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        bright = (sizes >= PIECE_SHARE * sizes.max())[labels]
    head: Mask = bright.copy()
    for axis in range(3):
        plane = np.zeros((3, 3, 3), bool)
        plane[tuple(1 if other == axis else slice(None) for other in range(3))] = True
        head |= ndimage.binary_fill_holes(bright, plane)
    return head


def _box_centre(mask: Mask, affine: Affine) -> NDArray[np.float64]:
    """Centre, in RAS+ mm, of the bounding box of the mask's upper `BRAIN_HEIGHT_MM`."""
    # A surface voxel bounds the box as well as all of them do, and there are far fewer.
    surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    points = surface @ affine[:3, :3].T + affine[:3, 3]
    top = points[:, 2].max()
    points = points[points[:, 2] >= top - BRAIN_HEIGHT_MM]
    centre: NDArray[np.float64] = (points.min(axis=0) + points.max(axis=0)) / 2
    return centre


def normalise(volume: Volume, foreground: Foreground, percentiles: tuple[float, float]) -> NDArray[np.float32]:
    """Intensities with the foreground's `percentiles` at -1 and 1, clipped; background at -1.

    Raises:
        VolumeError: if the two percentiles are the same.
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


def scan_images(
    volume: Volume, data: DataConfig, *, subject: str, foreground: Foreground | None = None
) -> list[SliceImage]:
    """The training images of one scan, from the lowest slice up.

    Slices lie at `slice_heights` above the centre of the foreground's bounding box and are centred on it; those with
    less than `min_foreground` of head are left out, so the list can be empty.

    Raises:
        VolumeError: if the scan has no foreground or no contrast.
    """
    foreground = foreground or find_foreground(volume)
    scaled = normalise(volume, foreground, data.clip_percentiles)
    sigmas = smoothing_sigmas(volume.spacing_mm, data.spacing_mm)
    if any(sigmas):
        scaled = ndimage.gaussian_filter(scaled, sigmas, mode="nearest", truncate=3.0)
    to_voxel = np.linalg.inv(volume.affine)
    images = []
    for height in slice_heights(data, subject):
        affine = _slice_affine(data, foreground.centre_mm + np.array([0.0, 0.0, height]))
        points = _pixel_voxels(to_voxel @ affine, data.image_size)
        head = ndimage.map_coordinates(foreground.mask, points, np.uint8, order=0, mode="constant", cval=0)
        if head.mean() < data.min_foreground:
            continue
        image = ndimage.map_coordinates(scaled, points, np.float32, order=1, mode="constant", cval=-1.0)
        images.append(SliceImage(np.clip(image, -1.0, 1.0), height, affine))
    return images


def _pixel_voxels(affine: Affine, size: int) -> NDArray[np.float64]:
    """Voxel coordinates (3, S, S) of the pixels of a slice, by `affine` from pixels to voxels."""
    steps = np.arange(size)
    x, y = affine[:3, 0, None, None] * steps[:, None], affine[:3, 1, None, None] * steps
    points: NDArray[np.float64] = x + y + affine[:3, 3, None, None]
    return points
