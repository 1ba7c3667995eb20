"""A glioblastoma in the brain that it has pushed aside."""

from __future__ import annotations

import numpy as np

from mrigen.phantom.anatomy import Anatomy
from mrigen.phantom.fields import FloatArray, Grid, level_of_volume, smooth_noise, soft_step
from mrigen.phantom.parameters import TumourParameters
from mrigen.phantom.signal import Tissue, replace_tissue

_THINNEST_RIM_MM = 1.8


def _melted_distance(points_mm: FloatArray, tumour: TumourParameters) -> FloatArray:
    """About the distance in mm to the surface of the lobules melted into one another, negative inside, (N,).

    Blobs after Blinn (ACM Trans Graph 1:235, 1982): inverse powers add, so that near lobules merge smoothly.
    """
    near = np.zeros(points_mm.shape[1], dtype=np.float32)
    for focus in tumour.foci:
        for centre, radius in focus.lobules:
            squared = ((points_mm - np.asarray(centre, dtype=np.float32)[:, None]) ** 2).sum(axis=0)
            near += (np.float32(radius) ** 2 / np.maximum(squared, 1.0)) ** 2
    melted: FloatArray = (near**-0.25 - 1.0) * np.float32(tumour.foci[0].radius_mm)
    return melted


def add_tumour(anatomy: Anatomy, tumour: TumourParameters, depth_mm: FloatArray, grid: Grid) -> FloatArray:
    """Fractions with a glioblastoma in place, float32 (len(Tissue), N). `depth_mm` (N,) lies below the surface.

    Each part is the level set that encloses its drawn volume: the mass in tissue of its own hemisphere, necrosis
    within the mass, oedema in the white matter around it. Ventricles, cortex and the other hemisphere are spared.
    """
    fractions = anatomy.fractions.copy()
    radius = np.float32(tumour.foci[0].radius_mm)
    slow, patchy = smooth_noise(tumour.seed, grid, 15.0, 2)[:, anatomy.brain]
    fine, inner, speckle = smooth_noise(tumour.seed + 1, grid, 6.0, 3)[:, anatomy.brain]
    # A falx that is pushed over stays a border: sides are told by where tissue came from.
    side = np.float32(1.0 if tumour.side == "right" else -1.0)
    own_side = soft_step(anatomy.tissue_mm[0] * side - 1.5, 3.0)
    in_ventricle = (fractions[Tissue.FLUID] + fractions[Tissue.CHOROID]) * soft_step(1.0 - anatomy.ventricle_mm, 2.0)
    room = own_side * (1.0 - in_ventricle)

    outline = _melted_distance(anatomy.points_mm, tumour)
    outline += radius * np.float32(tumour.irregularity) * (0.7 * slow + 0.45 * fine)
    outline += 1.5 * np.maximum(4.0 - depth_mm, 0.0)
    outline -= level_of_volume(outline, room, tumour.core_ml, grid)
    mass = soft_step(-outline) * room * (1.0 - fractions[Tissue.BLOOD])

    core = outline + radius * (0.22 * inner + 0.12 * patchy)
    core -= level_of_volume(core, mass, tumour.core_ml * tumour.necrosis_share, grid)
    necrosis = np.minimum(soft_step(-core, 2.5), soft_step(-outline - _THINNEST_RIM_MM, 2.0))
    solid = mass * (1.0 - necrosis)
    dull_field = -(patchy + 0.7 * inner)
    solid_ml = tumour.core_ml * (1.0 - tumour.necrosis_share)
    dull = soft_step(level_of_volume(dull_field, solid, solid_ml * tumour.non_enhancing_share, grid) - dull_field, 0.8)

    # Oedema follows the fibres, which mostly run front to back: slow noise draws its fingers out.
    white = np.clip(1.7 * fractions[Tissue.WHITE] - 0.35, 0.0, 1.0) * room * (1.0 - mass)
    spread = outline + 5.0 * slow + 2.5 * patchy + 1.5 * fine
    reach = level_of_volume(spread, white, tumour.oedema_ml, grid)
    oedema = soft_step(reach - spread, 6.0) * np.clip(0.85 + 0.12 * patchy, 0.6, 0.97) * white
    halo = soft_step(2.5 - outline, 4.0) * 0.55 * room
    replace_tissue(fractions, Tissue.OEDEMA, np.maximum(oedema, halo * (1.0 - mass)))

    fractions *= 1.0 - mass
    # Debris and old blood keep a necrosis from being one flat grey.
    debris = np.clip(0.16 + 0.16 * speckle, 0.0, 0.45)
    fractions[Tissue.NECROSIS] += mass * necrosis * (1.0 - debris)
    enhancing = solid * (1.0 - 0.85 * dull) * np.clip(0.85 + 0.2 * speckle, 0.55, 1.0)
    fractions[Tissue.RIM] += enhancing
    fractions[Tissue.TUMOUR] += solid - enhancing + mass * necrosis * debris
    return fractions
