"""Dural sinuses, large vessels and choroid plexus, laid into the template by hand-set courses (MNI millimetres).

These are what gadolinium brightens in everybody. The courses follow textbook anatomy; they are not measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mrigen.phantom.fields import FloatArray

Point = tuple[float, float, float]
Course = tuple[float, float, Sequence[Point]]  # first radius, last radius (mm), way points

_MIDLINE: tuple[Course, ...] = (
    # internal cerebral veins, vein of Galen, straight sinus
    (1.6, 2.6, ((0, -4, 11), (0, -22, 11), (0, -38, 8), (0, -46, 6))),
    (2.6, 3.0, ((0, -46, 6), (0, -58, 10), (0, -75, 2), (0, -97, -6))),
    # inferior sagittal sinus in the free edge of the falx
    (1.2, 1.8, ((0, 30, 34), (0, 0, 42), (0, -35, 36), (0, -48, 20))),
    # basilar artery before the pons
    (1.8, 1.8, ((0, -22, -52), (0, -16, -40), (0, -11, -28), (0, -15, -18))),
)
_PAIRED: tuple[Course, ...] = (
    # transverse and sigmoid sinus
    (3.2, 3.2, ((3, -98, -8), (24, -93, -18), (42, -80, -24), (54, -62, -30), (54, -48, -36), (44, -42, -46))),
    # anterior cerebral artery: A1, then over the corpus callosum
    (1.6, 1.4, ((4, 4, -18), (3, 16, -14), (2, 32, -6), (2, 40, 4), (2, 36, 16), (2, 24, 28), (2, 4, 36))),
    # middle cerebral artery: M1, then three branches over the insula and out of the Sylvian fissure
    (1.9, 1.8, ((6, 2, -18), (16, 3, -20), (26, 4, -18), (36, 4, -14))),
    (1.7, 1.4, ((36, 4, -14), (40, 14, -6), (40, 18, 6), (44, 14, 14), (52, 10, 18))),
    (1.7, 1.4, ((36, 4, -14), (41, 0, -4), (42, -4, 8), (44, -10, 18), (54, -14, 22))),
    (1.7, 1.4, ((36, 4, -14), (42, -12, -4), (42, -24, 8), (46, -34, 18), (56, -42, 24))),
    # posterior cerebral artery around the midbrain
    (1.6, 1.3, ((3, -14, -17), (14, -18, -16), (20, -28, -10), (16, -42, -2), (14, -62, 4))),
    # basal vein of Rosenthal
    (1.3, 1.6, ((18, -8, -16), (20, -20, -10), (12, -34, -2), (2, -44, 5))),
    # superior anastomotic vein from the Sylvian fissure to the vertex
    (1.4, 2.0, ((60, -8, 18), (60, -18, 36), (46, -26, 60), (24, -30, 76), (6, -34, 80))),
    # frontal and parietal bridging veins
    (1.4, 2.0, ((48, 34, 24), (36, 36, 42), (22, 34, 56), (6, 30, 62))),
    (1.4, 2.0, ((56, -52, 34), (42, -60, 52), (22, -64, 64), (6, -66, 66))),
)
_CHOROID: tuple[Course, ...] = (
    (1.2, 1.9, ((6, -2, 15), (10, -14, 20), (15, -26, 21), (21, -36, 16), (24, -41, 10), (25, -40, 2))),
    (2.6, 2.6, ((23, -39, 13), (25, -42, 8))),
)


def _draw(canvas: FloatArray, course: Course, origin_mm: Point, mirror: float = 1.0) -> None:
    """Paint one tube into `canvas` (1 mm voxels), keeping what is brighter."""
    first, last, way = course
    points = np.asarray(way, dtype=np.float64) * (mirror, 1.0, 1.0)
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    along = np.arange(0.0, lengths[-1] + 0.7, 0.7)
    track = np.stack([np.interp(along, lengths, points[:, axis]) for axis in range(3)], axis=1)
    if len(way) > 3:  # round the corners, keep the ends
        track = ndimage.gaussian_filter1d(track, 5.0, axis=0, mode="nearest")
    for step, centre in enumerate(track - np.asarray(origin_mm)):
        radius = first + (last - first) * step / max(len(track) - 1, 1)
        low = np.maximum(np.floor(centre - radius - 1).astype(int), 0)
        high = np.minimum(np.ceil(centre + radius + 2).astype(int), canvas.shape)
        if np.any(high <= low):
            continue
        axes = [(np.arange(low[a], high[a]) - centre[a]) ** 2 for a in range(3)]
        distance = np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :])
        box = canvas[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        np.maximum(box, np.clip(radius + 0.5 - distance, 0.0, 1.0), out=box)


def _sagittal_sinus(enclosed: FloatArray, origin_mm: Point) -> Course:
    """The superior sagittal sinus: 2.5 mm under the midline outline, from forehead over vertex to the torcula."""
    midline = enclosed[round(-origin_mm[0])] > 0.5
    way: list[Point] = []
    for angle in np.deg2rad(np.arange(0.0, 196.0, 4.0)):
        reach = np.arange(20.0, 110.0, 0.5)
        y, z = -20.0 + reach * np.cos(angle), 2.0 + reach * np.sin(angle)
        rows, columns = np.round(y - origin_mm[1]).astype(int), np.round(z - origin_mm[2]).astype(int)
        held = (rows >= 0) & (rows < midline.shape[0]) & (columns >= 0) & (columns < midline.shape[1])
        held[held] = midline[rows[held], columns[held]]
        radius = reach[held].max() - 2.5
        way.append((0.0, float(-20.0 + radius * np.cos(angle)), float(2.0 + radius * np.sin(angle))))
    return (1.8, 4.2, way)


def lay_vessels(enclosed: FloatArray, fluid: FloatArray, origin_mm: Point) -> FloatArray:
    """Fraction of blood in each 1 mm template voxel, float32 (X, Y, Z).

    `enclosed` and `fluid` are the template's maps, `origin_mm` the position of voxel (0, 0, 0).
    """
    canvas = np.zeros(enclosed.shape, dtype=np.float32)
    _draw(canvas, _sagittal_sinus(enclosed, origin_mm), origin_mm)
    for course in _MIDLINE:
        _draw(canvas, course, origin_mm)
    for course in _PAIRED:
        _draw(canvas, course, origin_mm)
        _draw(canvas, course, origin_mm, mirror=-1.0)
    # The falx enhances a little: a sheet in the fluid between the hemispheres.
    x_mm = np.abs(origin_mm[0] + np.arange(enclosed.shape[0]))[:, None, None]
    falx = 0.45 * np.clip(2.0 - x_mm, 0.0, 1.0) * np.clip(2.0 * fluid, 0.0, 1.0)
    falx[:, :, : round(14 - origin_mm[2])] *= 0.4  # cisterns and third ventricle lie below
    result: FloatArray = np.maximum(canvas, falx.astype(np.float32)) * enclosed
    return result


def lay_choroid_plexus(fluid: FloatArray, origin_mm: Point) -> FloatArray:
    """Fraction of choroid plexus in each 1 mm template voxel, float32 (X, Y, Z); only where there is fluid."""
    canvas = np.zeros(fluid.shape, dtype=np.float32)
    for course in _CHOROID:
        _draw(canvas, course, origin_mm)
        _draw(canvas, course, origin_mm, mirror=-1.0)
    result: FloatArray = canvas * np.clip(2.0 * fluid, 0.0, 1.0)
    return result
