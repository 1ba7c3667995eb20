"""From parameters to the tissue map of one brain without focal lesions: where each voxel lies in the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrigen.sources.phantom.fields import FloatArray, Grid, smooth_noise, soft_step
from mrigen.sources.phantom.parameters import AnatomyParameters, TumourParameters, Vector, VesselParameters
from mrigen.sources.phantom.signal import Tissue
from mrigen.sources.phantom.template import Template

_CENTRE_MM = (0.0, -17.0, 5.0)  # of the template's brain: scaled and turned about here
_WARP_KNOT_MM = 40.0
_FOLD_KNOT_MM = 13.0
_FLOW_STEPS = 4


@dataclass(frozen=True)
class Anatomy:
    """A brain's N voxels. `points_mm` (3, N) are their places in the template before any growth displaced tissue,
    `tissue_mm` (3, N) the places their tissue comes from; `fractions` (len(Tissue), N) sum to 1 down each column."""

    brain: NDArray[np.bool_]
    points_mm: FloatArray
    tissue_mm: FloatArray
    fractions: FloatArray


def rotation_matrix(angles_deg: Vector) -> NDArray[np.float64]:
    """Rotation about x, then y, then z, float64 (3, 3)."""
    a, b, c = np.deg2rad(angles_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turned: NDArray[np.float64] = np.einsum("ij,jk,kl->il", about_z, about_y, about_x)
    return turned


def template_points(parameters: AnatomyParameters, grid: Grid) -> FloatArray:
    """Where in the template (mm) each voxel of `grid` lies, float32 (3, X, Y, Z): scale, turn, smooth warp."""
    pull = rotation_matrix(parameters.rotation_deg).T / np.asarray(parameters.scale)[:, None]
    x, y, z = (grid.axis_mm(axis) - np.float32(_CENTRE_MM[axis]) for axis in range(3))
    points = smooth_noise(parameters.warp_seed, grid, _WARP_KNOT_MM, 3) * np.float32(parameters.warp_mm)
    points += smooth_noise(parameters.warp_seed + 1, grid, _FOLD_KNOT_MM, 3) * np.float32(parameters.fold_warp_mm)
    for axis in range(3):
        row = pull[axis].astype(np.float32)
        points[axis] += row[0] * x[:, None, None] + row[1] * y[None, :, None] + row[2] * z[None, None, :]
        points[axis] += np.float32(_CENTRE_MM[axis])
    return points


def grow_ventricles(points_mm: FloatArray, template: Template, growth_mm: float) -> FloatArray:
    """Follow the flow away from the ventricles backwards: tissue now at a point came from nearer the ventricle.

    Steps through a smooth field, so that walls never cross; a negative growth shrinks the ventricles.
    """
    moved = points_mm.copy()
    step = np.float32(growth_mm / _FLOW_STEPS)
    for _ in range(_FLOW_STEPS):
        moved -= step * np.stack([flow.at(moved) for flow in template.ventricle_flow])
    return moved


def push_aside(points_mm: FloatArray, depth_mm: FloatArray, tumour: TumourParameters) -> FloatArray:
    """Mass effect: tissue around a tumour came from nearer its centre. The skull holds the surface where it is."""
    offset = points_mm - np.asarray(tumour.centre_mm, dtype=np.float32)[:, None]
    distance = np.sqrt((offset**2).sum(axis=0))
    radius = np.float32(tumour.radius_mm * 1.15)
    shift = tumour.mass_effect * np.minimum(distance, radius) * np.exp(-np.maximum(distance - radius, 0.0) / 24.0)
    shift *= np.clip(depth_mm / 12.0, 0.0, 1.0)
    pulled: FloatArray = points_mm - offset * (shift / np.maximum(distance, 1.0)).astype(np.float32)
    return pulled


def _hippocampi(points_mm: FloatArray) -> FloatArray:
    """Softly 1 within the two hippocampi: capsules of 4.5 mm from head to tail in MNI millimetres."""
    head, tail = np.array([27.0, -10.0, -20.0], np.float32), np.array([26.0, -34.0, -6.0], np.float32)
    folded = np.stack([np.abs(points_mm[0]), points_mm[1], points_mm[2]])
    axis = tail - head
    offset = folded - head[:, None]
    along = np.clip((offset * axis[:, None]).sum(axis=0) / np.float32((axis**2).sum()), 0.0, 1.0)
    distance = np.sqrt(((offset - along * axis[:, None]) ** 2).sum(axis=0))
    return soft_step(4.5 - distance, 4.0)


def _cortical_veins(vessels: VesselParameters, grid: Grid, brain: NDArray[np.bool_]) -> FloatArray:
    """Softly 1 at scattered places of a few mm, (N,): seen only where a sulcus holds fluid."""
    noise = smooth_noise(vessels.seed, grid, 5.0)[0][brain]
    threshold = np.float32(2.2 - 6.0 * vessels.cortical_density)
    shown: FloatArray = np.clip((noise - threshold) * 2.0, 0.0, 1.0)
    return shown


def build_anatomy(
    parameters: AnatomyParameters,
    vessels: VesselParameters,
    tumour: TumourParameters | None,
    template: Template,
    grid: Grid,
) -> Anatomy:
    """The brain on `grid`, displaced by its tumour if it has one, which is not yet filled in."""
    dense = template_points(parameters, grid)
    brain = template.enclosed.at(dense) > 0.6
    points = dense[:, brain]
    depth = template.depth.at(points)
    pushed = points if tumour is None else push_aside(points, depth, tumour)
    tissue_mm = grow_ventricles(pushed, template, parameters.ventricle_growth_mm)

    whole = np.maximum(template.enclosed.at(tissue_mm), np.float32(0.3))
    grey = np.minimum(template.grey.at(tissue_mm) / whole, 1.0)
    white = np.minimum(template.white.at(tissue_mm) / whole, 1.0 - grey)
    # Sulci differ in width from place to place, not only from brain to brain.
    uneven = np.exp(0.35 * smooth_noise(parameters.warp_seed + 2, grid, 28.0)[0][brain])
    solid = np.clip(grey + white, 0.0, 1.0) ** (1.0 + np.float32(parameters.sulcal_widening) * uneven)
    if parameters.hippocampal_atrophy:
        solid *= 1.0 - np.float32(parameters.hippocampal_atrophy) * _hippocampi(tissue_mm)
    shrink = solid / np.maximum(grey + white, np.float32(1e-3))
    grey, white = grey * shrink, white * shrink
    fluid = np.clip(1.0 - grey - white, 0.0, 1.0)

    fractions = np.zeros((len(Tissue), points.shape[1]), dtype=np.float32)
    sulcal = np.clip(2.5 * fluid, 0.0, 1.0) * (template.ventricle_distance.at(tissue_mm) > 9.0) * (depth < 22.0)
    blood = np.maximum(template.vessels.at(tissue_mm), sulcal * _cortical_veins(vessels, grid, brain))
    blood = np.clip(blood * np.float32(vessels.fullness), 0.0, 1.0)
    # The plexus does not grow with the ventricle that holds it.
    choroid = np.minimum(template.choroid.at(pushed) * np.clip(2.0 * fluid, 0.0, 1.0), 1.0 - blood)
    rest = 1.0 - blood - choroid
    fractions[Tissue.GREY], fractions[Tissue.WHITE], fractions[Tissue.FLUID] = grey * rest, white * rest, fluid * rest
    fractions[Tissue.BLOOD], fractions[Tissue.CHOROID] = blood, choroid
    return Anatomy(brain, points, tissue_mm, fractions)
