"""Focal lesions: each replaces a share of the tissue in the voxels that it reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrigen.sources.phantom.anatomy import Anatomy, rotation_matrix
from mrigen.sources.phantom.fields import FloatArray, Grid, smooth_noise, soft_step
from mrigen.sources.phantom.parameters import HyperintensityParameters, PlaqueParameters, TumourParameters
from mrigen.sources.phantom.signal import Tissue
from mrigen.sources.phantom.template import Template

LESION_TISSUES = (
    Tissue.NECROSIS,
    Tissue.OEDEMA,
    Tissue.RIM,
    Tissue.PLAQUE,
    Tissue.ACTIVE_PLAQUE,
    Tissue.HYPERINTENSITY,
)
"""Tissue of each lesion label, from label 1 on."""


def _replace(fractions: FloatArray, tissue: Tissue, amount: FloatArray) -> None:
    """Let `amount` (N,) of each voxel become `tissue`, taken from all others alike."""
    fractions *= 1.0 - amount
    fractions[tissue] += amount


def add_tumour(anatomy: Anatomy, tumour: TumourParameters, template: Template, grid: Grid) -> FloatArray:
    """Fractions with a glioblastoma in place, float32 (len(Tissue), N).

    A bent ellipsoid holds necrosis within an enhancing rim of uneven thickness; oedema spreads beyond it along
    white matter and spares the cortex.
    """
    fractions = anatomy.fractions.copy()
    offset = anatomy.points_mm - np.asarray(tumour.centre_mm, dtype=np.float32)[:, None]
    turn = (rotation_matrix(tumour.rotation_deg) / np.asarray(tumour.axes)[:, None]).astype(np.float32)
    turned = [turn[a, 0] * offset[0] + turn[a, 1] * offset[1] + turn[a, 2] * offset[2] for a in range(3)]
    distance = np.sqrt(turned[0] ** 2 + turned[1] ** 2 + turned[2] ** 2)

    slow, patchy = smooth_noise(tumour.seed, grid, 15.0, 2)[:, anatomy.brain]
    fine, inner = smooth_noise(tumour.seed + 1, grid, 7.0, 2)[:, anatomy.brain]
    radius = np.float32(tumour.radius_mm)
    bent = distance + radius * np.float32(tumour.irregularity) * (0.75 * slow + 0.35 * fine)
    same_side = soft_step(anatomy.points_mm[0] * np.float32(np.sign(tumour.centre_mm[0])) - 1.0, 4.0)
    mass = soft_step(radius - bent) * same_side
    core_radius = radius * np.float32(tumour.necrosis) * (1.0 + 0.22 * inner + 0.12 * patchy)
    core = np.minimum(soft_step(np.minimum(core_radius, radius - 2.2) - bent, 2.5), mass)

    # Oedema follows the fibres, which mostly run front to back, and avoids the callosal midline.
    stretched = np.sqrt(offset[0] ** 2 * 1.25 + (offset[1] * 0.78) ** 2 + offset[2] ** 2)
    reach = radius + np.float32(tumour.oedema_mm) * (1.0 + 0.45 * slow + 0.25 * patchy)
    white = np.clip(1.6 * template.white.at(anatomy.tissue_mm) - 0.35, 0.0, 1.0)
    oedema = soft_step(reach - stretched + 3.0 * fine, 10.0) * white * same_side
    halo = soft_step(radius + 2.5 - bent, 4.0) * same_side * 0.7
    _replace(
        fractions, Tissue.OEDEMA, np.maximum(np.clip(0.8 + 0.12 * patchy, 0.5, 0.97) * oedema, halo) * (1.0 - mass)
    )
    tissue = mass[None] * (1.0 - fractions[Tissue.BLOOD])[None]
    _replace(fractions, Tissue.RIM, tissue[0])
    fractions[Tissue.NECROSIS] += fractions[Tissue.RIM] * core
    fractions[Tissue.RIM] *= 1.0 - core
    # Solid tumour enhances unevenly: part of the rim looks like oedema.
    dull = np.clip(0.25 + 0.3 * inner, 0.0, 0.6) * fractions[Tissue.RIM]
    fractions[Tissue.RIM] -= dull
    fractions[Tissue.OEDEMA] += dull
    return fractions


def _nearest(places_mm: FloatArray, point_mm: FloatArray) -> FloatArray:
    """The place (3,) of (N, 3) that lies nearest to a point."""
    found: FloatArray = places_mm[int(((places_mm - point_mm) ** 2).sum(axis=1).argmin())]
    return found


def _ovoid(
    points_mm: FloatArray, plaque: PlaqueParameters, template: Template, jag_mm: FloatArray
) -> tuple[NDArray[np.intp], FloatArray]:
    """The voxels that an ovoid reaches and its share of each."""
    centre = np.asarray(plaque.centre_mm, dtype=np.float32)
    if plaque.kind == "juxtacortical":
        centre = _nearest(template.juxtacortical_mm, centre)
    elif plaque.kind == "deep":
        centre = _nearest(template.deep_white_mm, centre)
    reach = np.float32(plaque.length_mm / 2 + 4.0)
    box = np.abs(points_mm[0] - centre[0]) < reach
    near = np.flatnonzero(box)
    for axis in (1, 2):
        near = near[np.abs(points_mm[axis, near] - centre[axis]) < reach]
    offset = points_mm[:, near] - centre[:, None]
    axis_mm = np.asarray(plaque.direction, dtype=np.float32)
    along = (offset * axis_mm[:, None]).sum(axis=0)
    across = (offset**2).sum(axis=0) - along**2
    half_length, half_width = np.float32(plaque.length_mm / 2), np.float32(plaque.width_mm / 2)
    scaled = np.sqrt((along / half_length) ** 2 + np.maximum(across, 0.0) / half_width**2)
    return near, soft_step((1.0 - scaled) * half_width + jag_mm[near], 3.0)


def add_plaques(
    anatomy: Anatomy, plaques: Sequence[PlaqueParameters], template: Template, grid: Grid, seed: int
) -> FloatArray:
    """Fractions with the plaques of multiple sclerosis, float32 (len(Tissue), N): in white matter, a little beyond."""
    shares = _white_spots(anatomy, plaques, template, grid, seed)
    fractions = anatomy.fractions.copy()
    _replace(fractions, Tissue.PLAQUE, shares[0])
    _replace(fractions, Tissue.ACTIVE_PLAQUE, shares[1])
    return fractions


def _white_spots(
    anatomy: Anatomy, plaques: Sequence[PlaqueParameters], template: Template, grid: Grid, seed: int
) -> FloatArray:
    """Share of quiet and of active ovoids in each voxel, float32 (2, N)."""
    shares = np.zeros((2, anatomy.points_mm.shape[1]), dtype=np.float32)
    jag_mm = 0.7 * smooth_noise(seed, grid, 6.0)[0][anatomy.brain]
    for plaque in plaques:
        near, share = _ovoid(anatomy.tissue_mm, plaque, template, jag_mm)
        row = shares[int(plaque.active)]
        row[near] = np.maximum(row[near], share)
    shares *= np.clip(1.7 * template.white.at(anatomy.tissue_mm) - 0.1, 0.0, 0.95)
    shares[0] *= 1.0 - shares[1]
    return shares


def add_hyperintensity(
    anatomy: Anatomy, ageing: HyperintensityParameters, template: Template, grid: Grid, seed: int
) -> FloatArray:
    """Fractions with the white-matter changes of age, float32 (len(Tissue), N): caps, a band, spots."""
    y = anatomy.tissue_mm[1]
    horn = np.clip((y - 12.0) / 12.0, 0.0, 1.0) + np.clip((-30.0 - y) / 12.0, 0.0, 1.0)
    uneven = 1.0 + 0.6 * smooth_noise(seed + 1, grid, 10.0)[0][anatomy.brain]
    extent = (np.float32(ageing.band_mm) + np.float32(ageing.cap_mm - ageing.band_mm) * horn) * uneven
    share = soft_step(extent - template.ventricle_distance.at(anatomy.tissue_mm), 4.5)
    share *= np.clip(1.6 * template.white.at(anatomy.tissue_mm) - 0.3, 0.0, 0.9)
    share *= anatomy.tissue_mm[2] > -4.0
    spots = _white_spots(anatomy, ageing.spots, template, grid, seed)[0]
    fractions = anatomy.fractions.copy()
    _replace(fractions, Tissue.HYPERINTENSITY, np.maximum(share, spots))
    return fractions


def label_lesions(fractions: FloatArray) -> NDArray[np.uint8]:
    """The lesion label of each voxel, uint8 (N,): the largest lesion tissue where lesions fill half or more."""
    lesion = fractions[list(LESION_TISSUES)]
    return np.where(lesion.sum(axis=0) >= 0.5, lesion.argmax(axis=0) + 1, 0).astype(np.uint8)
