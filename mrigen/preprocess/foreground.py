"""What of a scan is head or brain, and what is air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.volume import Volume, VolumeError

STRIPPED_MAX_LITRES = 2.2
"""A brain without its skull is no larger than this: brains have 1.0 to 1.8 litres with their fluid, heads more than
2.5 unless the scan cuts them."""
BRAIN_HEIGHT_MM = 165.0
"""The bounding box reaches down from the top no further than this, so that necks do not lower the centre."""

PIECE_SHARE = 0.05
"""Pieces of a head this large against the largest are kept; smaller ones are noise and ghosts."""

SKULL_DEPTH_MM = 22.0
"""The skull lies no deeper than this below the skin."""
SKULL_DARKNESS = 0.4
"""Bone is darker than this share of both the brightest layer outside of it and the brightest within reach inside."""
SKULL_SHARE = 0.4
"""Share of the lines inwards that meet bone from which on it is a head. Scans of open_ms_data and IXI, cut to slabs
too: heads 0.53 and more, stripped brains 0.27 and less."""
_SKULL_STEP_MM = 1.5
_SKULL_GRID_MM = 2.0
_SKULL_LINES = 2000

Mask = NDArray[np.bool_]
Point = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Foreground:
    """What of a volume is head: `mask` (X, Y, Z); `stripped` if it is a brain alone; `centre_mm` (3,), in RAS+, is the
    place where images are centred: the middle of its bounding box."""

    mask: Mask
    stripped: bool
    centre_mm: Point


def find_foreground(volume: Volume) -> Foreground:
    """Tell head from background.

    Where all but a brain's worth of voxels equal the value of the border, and no bone lies under the surface of the
    rest, the skull was stripped and what differs from the border is the brain. Otherwise Otsu's threshold (IEEE Trans
    SMC 9:62, 1979) parts head from air. Holes are filled.

    Raises VolumeError if nothing stands out.
    """
    array = volume.array
    border = _border_value(array)
    mask = array != border
    small = mask.sum() * voxel_litres(volume.affine) <= STRIPPED_MAX_LITRES
    if small:
        mask = ndimage.binary_fill_holes(mask)
    stripped = bool(small and not (mask.any() and _skull_share(volume, mask, float(border)) >= SKULL_SHARE))
    if not stripped:
        mask = _head(array > _otsu_threshold(array))
    if not mask.any():
        raise VolumeError("no foreground: nothing stands out from the background", "voxels")
    return Foreground(mask, stripped, box_centre(mask, volume.affine))


def voxel_litres(affine: NDArray[np.float64]) -> float:
    """Volume of one voxel."""
    return abs(float(np.linalg.det(affine[:3, :3]))) * 1e-6


def _border_value(array: NDArray[np.float32]) -> np.float32:
    """The most frequent value on the six faces of the grid."""
    faces = [np.take(array, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    border: np.float32 = values[np.argmax(counts)]
    return border


def _skull_share(volume: Volume, mask: Mask, border: float) -> float:
    """Of lines from the mask's surface straight inwards, the share that passes from bright through dark to bright."""
    strides = [max(1, round(_SKULL_GRID_MM / spacing)) for spacing in volume.spacing_mm]
    thin = tuple(slice(None, None, stride) for stride in strides)
    array, mask = volume.array[thin], mask[thin]
    spacing = np.array(volume.spacing_mm) * strides
    # Where the scan ends is no surface.
    surface = np.argwhere(_surface(mask, ends=False))
    surface = surface[:: max(1, len(surface) // _SKULL_LINES)]
    if not len(surface):
        return 0.0
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 6.0 / spacing, mode="nearest")
    places = surface.T
    inwards = np.stack([_slope(soft, places, axis) for axis in range(3)]) / spacing[:, None]
    inwards /= np.maximum(np.linalg.norm(inwards, axis=0), 1e-9)
    depths = np.arange(0.0, SKULL_DEPTH_MM, _SKULL_STEP_MM)
    points = places[:, :, None] + (inwards / spacing[:, None])[:, :, None] * depths
    black = min(border, float(np.percentile(array[mask], 0.1)))
    lines = ndimage.map_coordinates(array, points, np.float32, order=1, mode="nearest") - black
    outside = np.maximum.accumulate(lines, axis=1)
    inside = np.maximum.accumulate(lines[:, ::-1], axis=1)[:, ::-1]
    dark = lines < SKULL_DARKNESS * np.minimum(outside, inside)
    return float(dark.any(axis=1).mean())


def _surface(mask: Mask, *, ends: bool) -> Mask:
    """The voxels of a mask that have a neighbour outside of it; with `ends`, beyond the grid too."""
    inside = mask.copy()
    for axis in range(3):
        into, of = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        into[1:] &= of[:-1]
        into[:-1] &= of[1:]
        if ends:
            into[[0, -1]] = False
    return mask & ~inside


def _slope(values: NDArray[np.float32], places: NDArray[np.intp], axis: int) -> NDArray[np.float32]:
    """Differences of `values` a voxel along `axis` at `places` (3, N): central, one-sided at the ends of the grid."""
    before, after = places.copy(), places.copy()
    before[axis] = np.maximum(places[axis] - 1, 0)
    after[axis] = np.minimum(places[axis] + 1, values.shape[axis] - 1)
    slope: NDArray[np.float32] = values[tuple(after)] - values[tuple(before)]
    slope /= np.maximum(after[axis] - before[axis], 1)
    return slope


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


def box_centre(mask: Mask, affine: NDArray[np.float64]) -> Point:
    """Centre (3,), in RAS+ mm, of the bounding box of the mask's upper `BRAIN_HEIGHT_MM`."""
    # A surface voxel bounds the box as well as all of them do, and there are far fewer.
    surface = np.argwhere(_surface(mask, ends=True))
    points = surface @ affine[:3, :3].T + affine[:3, 3]
    top = points[:, 2].max()
    points = points[points[:, 2] >= top - BRAIN_HEIGHT_MM]
    centre: Point = (points.min(axis=0) + points.max(axis=0)) / 2
    return centre
