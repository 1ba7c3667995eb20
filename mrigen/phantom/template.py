"""The average brain that every phantom is warped from.

The ICBM 152 non-linear symmetric 2009a templates (Fonov et al., NeuroImage 54:313, 2011) as packed in the nilearn
wheel: T1, grey matter and white matter at 1 mm. Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging
Centre, Montreal Neurological Institute, McGill University. Permission to use, copy, modify, and distribute this
software and its documentation for any purpose and without fee is hereby granted, provided that the above copyright
notice appear in all copies (the MNI licence). Ventricles and the enclosed space around the brain are derived here;
vessels are laid in `vessels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.phantom.fields import FloatArray
from mrigen.phantom.vessels import lay_choroid_plexus, lay_vessels
from mrigen.preprocess.template import read_template

# Corner voxels of the part of the 1 mm template that holds the brain with 6 mm around it.
_CROP = (slice(20, 178), slice(21, 215), slice(0, 162))
_COARSE = 2  # stride in voxels of the smooth maps
_FLOW_REACH_MM = 20.0


@dataclass(frozen=True)
class Map:
    """A template map: `values` (X, Y, Z), scaled by `scale`, on an isotropic grid from `origin_mm` (RAS+)."""

    values: NDArray[np.uint8] | FloatArray
    origin_mm: tuple[float, float, float]
    spacing_mm: float
    scale: float = 1.0

    def at(self, points_mm: FloatArray) -> FloatArray:
        """Linear interpolation at (3, ...) points in template millimetres; the edge value beyond the map."""
        origin = np.asarray(self.origin_mm, dtype=np.float32).reshape(3, *([1] * (points_mm.ndim - 1)))
        voxel = (points_mm - origin) / np.float32(self.spacing_mm)
        values: FloatArray = ndimage.map_coordinates(self.values, voxel, np.float32, order=1, mode="nearest")
        return values * np.float32(self.scale)


@dataclass(frozen=True)
class Template:
    """Maps in template space, each 0..1 unless it says otherwise."""

    enclosed: Map
    """Brain and the fluid in its grooves: what skull stripping leaves."""
    grey: Map
    white: Map
    vessels: Map
    choroid: Map
    depth: Map
    """Mm below the surface of `enclosed`, 0 outside."""
    ventricle_distance: Map
    """Mm outside (+) or inside (-) the lateral and third ventricles."""
    ventricle_flow: tuple[Map, Map, Map]
    """Unit vectors away from the ventricles, fading with distance."""
    juxtacortical_mm: FloatArray
    """(N, 3) white-matter points just under the cortex."""
    deep_white_mm: FloatArray
    """(N, 3) white-matter points far from cortex and ventricles."""
    infratentorial_mm: FloatArray
    """(N, 3) white-matter points of brainstem, peduncles and cerebellum."""


def _read(name: str) -> tuple[FloatArray, NDArray[np.float64]]:
    """One template cropped to the brain, scaled to 0..1, and its affine."""
    whole = read_template(name)
    affine = whole.affine.copy()
    affine[:3, 3] += [s.start for s in _CROP]
    return whole.array[_CROP], affine


def _signed_distance(inside: NDArray[np.bool_], spacing_mm: float) -> FloatArray:
    """Millimetres to the border of a mask: positive outside, negative inside."""
    outside = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance: FloatArray = (outside * spacing_mm).astype(np.float32)
    return distance


def _ventricles(fluid: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray) -> NDArray[np.bool_]:
    """Lateral and third ventricles: fluid within hand-set bounds that leave out the cisterns and the fissures."""
    body = (x > 1) & (x < 32) & (y > -44) & (y < 36) & (z > 3) & (z < 32) & ~((x < 9) & (y < -26) & (z < 22))
    horns = (x > 14) & (x < 38) & (y > -72) & (y < -28) & (z > -4) & (z < 26)
    frontal = (x > 2) & (x < 18) & (y > 8) & (y < 38) & (z > -8) & (z < 20)
    third = (x < 4) & (y > -26) & (y < 2) & (z > -6) & (z < 8)
    temporal = (x > 24) & (x < 40) & (y > -36) & (y < -6) & (z > -24) & (z < -6)
    labels, _ = ndimage.label((fluid > 0.4) & (body | horns | frontal | third | temporal))
    # One connected space and the tips of the temporal horns; what else the bounds catch are ends of sulci.
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.isin(labels, [sizes.argmax(), *np.flatnonzero(sizes > 60)])
    return np.asarray(kept, dtype=np.bool_)


def _growth_share(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """How much of the growth each place of the ventricles takes: third ventricle and horns take less."""
    third_or_occipital = ((x < 7) & (z < 9) & (y > -30) & (y < 8)) | ((x > 12) & (y < -58))
    temporal = (z < 0) & (y > -38) & (x > 12)
    share = np.where(third_or_occipital, 0.35, np.where(temporal, 0.12, 1.0)).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(share, 2.0), dtype=np.float32)


@lru_cache(maxsize=4)
def load_template(spacing_mm: float) -> Template:
    """The template, its tissue maps blurred as voxels of `spacing_mm` would blur them; cached in each process.

    Reads the nilearn wheel, never the network.

    Raises FileNotFoundError if the installed nilearn does not carry the templates.
    """
    grey, affine = _read("gm")
    white, _ = _read("wm")
    t1, _ = _read("t1")
    origin = (float(affine[0, 3]), float(affine[1, 3]), float(affine[2, 3]))
    axes = [(o + np.arange(n)).astype(np.float32) for o, n in zip(origin, grey.shape, strict=True)]
    sides = np.abs(axes[0])[:, None, None], axes[1][None, :, None], axes[2][None, None, :]  # both halves alike
    brain = (t1 > 0).astype(np.float32)
    # A wide blur bridges narrow grooves: there the meninges enclose fluid and the venous sinuses.
    bridged = np.clip((ndimage.gaussian_filter(brain, 4.0, truncate=3.0) - 0.40) * 8.0, 0.0, 1.0)
    # Not so between the orbits and the temporal lobes, where skin and bone lie.
    bridged *= np.maximum(np.clip((axes[2] + 14.0) / 8.0, 0.0, 1.0), (axes[1] < -40.0)[:, None])
    enclosed = np.maximum(ndimage.gaussian_filter(brain, 0.7), bridged)

    # The average of many brains is soft; a power sharpens the borders towards those of one brain.
    fluid = np.clip(1.0 - grey - white, 0.0, 1.0)
    power = np.float32(2.0)
    grey, white, fluid = grey**power, white**power, fluid**power
    total = np.maximum(grey + white + fluid, np.float32(1e-3))
    grey, white, fluid = grey / total, white / total, fluid / total

    coarse = (slice(None, None, _COARSE),) * 3
    x, y, z = (axis[coarse] for axis in sides)
    ventricles = _ventricles(fluid, *sides)
    # Half white, half fluid passes for grey in the templates' segmentation: no grey skin on white ventricle walls.
    wall = ndimage.binary_dilation(ventricles, iterations=4) & (axes[2] > -2.0)
    skin = np.where(wall, grey - np.minimum(grey, ndimage.grey_opening(grey, size=5)), 0.0).astype(np.float32)
    grey, white = grey - skin, white + skin
    ventricles = ventricles[coarse]
    distance = ndimage.gaussian_filter(_signed_distance(ventricles, _COARSE), 1.0)
    fade = np.exp(-((np.maximum(distance, 0.0) / _FLOW_REACH_MM) ** 2))
    fade *= _growth_share(x, y, z)
    flow = [(g * fade / _COARSE).astype(np.float32) for g in np.gradient(distance)]
    depth = np.maximum(-_signed_distance(enclosed[coarse] > 0.5, _COARSE), 0.0)

    def coarse_map(values: FloatArray) -> Map:
        return Map(np.ascontiguousarray(values), origin, float(_COARSE))

    def fine_map(values: FloatArray) -> Map:
        blurred = ndimage.gaussian_filter(values, 0.28 * spacing_mm) if spacing_mm > 1.2 else values
        return Map((blurred * 255.0 + 0.5).astype(np.uint8), origin, 1.0, 1.0 / 255.0)

    smooth_white = ndimage.gaussian_filter(white, 2.0)[coarse]
    is_white = (white[coarse] > 0.7) & (depth > 6.0)
    juxtacortical = is_white & (smooth_white < 0.68) & (distance > 14.0) & (depth < 24.0) & (z > -22.0)
    deep = is_white & (smooth_white > 0.85) & (distance > 6.0) & (z > -12.0)
    below = is_white & (x < 24.0) & (y > -70.0) & (y < -15.0) & (z > -52.0) & (z < -20.0)

    def points(mask: NDArray[np.bool_]) -> FloatArray:
        found: FloatArray = (np.argwhere(mask) * _COARSE + np.asarray(origin)).astype(np.float32)
        return found

    return Template(
        enclosed=fine_map(enclosed),
        grey=fine_map(grey * enclosed),
        white=fine_map(white * enclosed),
        vessels=fine_map(lay_vessels(enclosed, fluid, origin)),
        choroid=fine_map(lay_choroid_plexus(fluid, origin)),
        depth=coarse_map(depth),
        ventricle_distance=coarse_map(distance),
        ventricle_flow=(coarse_map(flow[0]), coarse_map(flow[1]), coarse_map(flow[2])),
        juxtacortical_mm=points(juxtacortical),
        deep_white_mm=points(deep),
        infratentorial_mm=points(below),
    )
