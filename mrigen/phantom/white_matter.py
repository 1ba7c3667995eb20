"""Lesions of the white matter: plaques of multiple sclerosis and the hyperintensities of age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mrigen.phantom.anatomy import Anatomy
from mrigen.phantom.fields import FloatArray, Grid, level_of_volume, smooth_noise, soft_step
from mrigen.phantom.parameters import HyperintensityParameters, PlaqueParameters
from mrigen.phantom.signal import Tissue, replace_tissue
from mrigen.phantom.template import Template

_TISSUES: Mapping[str, Tissue] = {
    "quiet": Tissue.PLAQUE,
    "active": Tissue.ACTIVE_PLAQUE,
    "black_hole": Tissue.BLACK_HOLE,
}
_RING_MM = 8.0  # active plaques of this width and more enhance as a ring


def _place(plaque: PlaqueParameters, template: Template) -> FloatArray:
    """The centre of a plaque, (3,): the nearest place that fits its kind."""
    centre = np.asarray(plaque.centre_mm, dtype=np.float32)
    places = {
        "juxtacortical": template.juxtacortical_mm,
        "deep": template.deep_white_mm,
        "infratentorial": template.infratentorial_mm,
    }.get(plaque.kind)
    if places is None:
        return centre
    found: FloatArray = places[int(((places - centre) ** 2).sum(axis=1).argmin())]
    return found


def _depth_in_plaque(
    points_mm: FloatArray, plaque: PlaqueParameters, template: Template, jag: FloatArray
) -> tuple[NDArray[np.intp], FloatArray]:
    """The voxels near a plaque, and how deep (mm, about) each lies under its uneven surface."""
    centre = _place(plaque, template)
    reach = np.float32(plaque.length_mm / 2 + 4.0)
    near = np.flatnonzero(np.abs(points_mm[0] - centre[0]) < reach)
    for axis in (1, 2):
        near = near[np.abs(points_mm[axis, near] - centre[axis]) < reach]
    offset = points_mm[:, near] - centre[:, None]
    along = (offset * np.asarray(plaque.direction, dtype=np.float32)[:, None]).sum(axis=0)
    across = np.maximum((offset**2).sum(axis=0) - along**2, 0.0)
    half_length, half_width = np.float32(plaque.length_mm / 2), np.float32(plaque.width_mm / 2)
    scaled = np.sqrt((along / half_length) ** 2 + across / half_width**2)
    return near, (1.0 - scaled) * half_width + np.minimum(np.float32(0.34) * half_width, np.float32(1.6)) * jag[near]


def add_plaques(
    anatomy: Anatomy, plaques: Sequence[PlaqueParameters], template: Template, grid: Grid, seed: int
) -> FloatArray:
    """Fractions with the plaques of multiple sclerosis, float32 (len(Tissue), N): in white matter, a little beyond."""
    shares = {tissue: np.zeros(anatomy.points_mm.shape[1], dtype=np.float32) for tissue in _TISSUES.values()}
    fine, slow = smooth_noise(seed, grid, 5.0)[0][anatomy.brain], smooth_noise(seed + 1, grid, 11.0)[0][anatomy.brain]
    jag = np.float32(0.7) * (fine + slow)

    def keep_larger(tissue: Tissue, near: NDArray[np.intp], share: FloatArray) -> None:
        shares[tissue][near] = np.maximum(shares[tissue][near], share)

    for plaque in plaques:
        near, depth = _depth_in_plaque(anatomy.tissue_mm, plaque, template, jag)
        share = np.float32(plaque.severity) * soft_step(depth + np.float32(0.6), 2.6)
        if plaque.state == "active" and plaque.width_mm >= _RING_MM:
            centre = np.float32(plaque.severity) * soft_step(depth - np.float32(2.4), 2.0)
            keep_larger(Tissue.PLAQUE, near, centre)
            share = np.maximum(share - centre, 0.0)
        keep_larger(_TISSUES[plaque.state], near, share)
    held = np.clip(1.7 * template.white.at(anatomy.tissue_mm) - 0.1, 0.0, 0.95)
    fractions = anatomy.fractions.copy()
    for tissue, share in shares.items():
        replace_tissue(fractions, tissue, share * held)
    return fractions


def add_hyperintensity(
    anatomy: Anatomy, fractions: FloatArray, ageing: HyperintensityParameters, template: Template, grid: Grid
) -> FloatArray:
    """Fractions with the white-matter changes of age, float32 (len(Tissue), N).

    Two level sets that enclose the drawn volume: one grows from the horns and, later, along the bodies of the
    ventricles; the other is made of peaks of a random field in the deep white matter.
    """
    x, y, z = anatomy.tissue_mm
    fine, middle, slow = (
        smooth_noise(ageing.seed + k, grid, knot)[0][anatomy.brain] for k, knot in enumerate((5.0, 10.0, 22.0))
    )
    white = np.clip(1.6 * fractions[Tissue.WHITE] - 0.3, 0.0, 1.0) * (z > -4.0) * (np.abs(x) > 3.0)
    horn = np.clip((y - 10.0) / 12.0, 0.0, 1.0) + np.clip((-28.0 - y) / 12.0, 0.0, 1.0)
    # Between the horns, the capsules and basal ganglia lie where the bodies' border does higher up.
    lateral = white * (np.abs(y + 18.0) < 62.0) * (anatomy.ventricle_mm < 13.0) * ((z > 14.0) | (horn > 0.2))
    beside = np.maximum(anatomy.ventricle_mm, 0.0) / (0.45 + 0.8 * horn) + 0.9 * fine + 2.2 * middle + 1.4 * slow
    deep = white * (anatomy.ventricle_mm > 7.0) * (template.white.at(anatomy.tissue_mm) > 0.7)
    spots = -(fine + 0.8 * middle + 0.5 * slow) * 2.5
    share = np.zeros(anatomy.points_mm.shape[1], dtype=np.float32)
    for field, weight, volume in (
        (beside, lateral, ageing.volume_ml * (1.0 - ageing.deep_share)),
        (spots, deep, ageing.volume_ml * ageing.deep_share),
    ):
        level = level_of_volume(field, weight, volume, grid)
        share = np.maximum(share, soft_step(level - field + 0.4, 3.2) * weight)
    share *= np.clip(0.85 + 0.1 * fine + 0.1 * middle, 0.6, 0.95)
    changed = fractions.copy()
    replace_tissue(changed, Tissue.HYPERINTENSITY, share)
    return changed
