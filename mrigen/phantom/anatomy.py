"""From parameters to the tissue map of one brain without focal lesions: where each voxel lies in the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrigen.phantom.fields import FloatArray, Grid, smooth_noise, soft_step
from mrigen.phantom.parameters import AnatomyParameters, TumourParameters, Vector, VesselParameters
from mrigen.phantom.signal import Tissue
from mrigen.phantom.template import Template

_CENTRE_MM = (0.0, -17.0, 5.0)  # of the template's brain: scaled and turned about here
_WARP_KNOT_MM = 40.0
_FOLD_KNOT_MM = 13.0
_FLOW_STEPS = 4
# How far the walls move (mm), and the ventricles (ml) measured then at 2.4 mm in an unscaled template.
_GROWTH_MM = (-3.0, -2.2, -1.5, 0.0, 1.0, 2.0, 4.0, 6.0, 9.0)
_GROWN_ML = (7.2, 9.4, 12.2, 21.3, 29.9, 39.1, 59.4, 80.7, 115.0)
HIPPOCAMPUS_MM = 6.0  # radius
_PUSH_LIMIT_MM = 9.0


@dataclass(frozen=True)
class Anatomy:
    """A brain's N voxels. `points_mm` (3, N) are their places in the template before any growth displaced tissue,
    `tissue_mm` (3, N) the places their tissue comes from; `fractions` (len(Tissue), N) sum to 1 down each column;
    `ventricle_mm` (N,) is the distance outside (+) or inside (-) the ventricles, `inside` (N,) the share of each voxel
    that skull stripping left."""

    brain: NDArray[np.bool_]
    points_mm: FloatArray
    tissue_mm: FloatArray
    fractions: FloatArray
    ventricle_mm: FloatArray
    inside: FloatArray


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


def grow_ventricles(points_mm: FloatArray, template: Template, distance_mm: float) -> FloatArray:
    """Follow the flow away from the ventricles backwards: tissue now at a point came from nearer the ventricle.

    Steps through a smooth field, so that walls never cross; a negative growth shrinks the ventricles.
    """
    moved = points_mm.copy()
    step = np.float32(distance_mm / _FLOW_STEPS)
    for _ in range(_FLOW_STEPS):
        moved -= step * np.stack([flow.at(moved) for flow in template.ventricle_flow])
    return moved


def growth_mm(ventricle_ml: float, scale: Vector) -> float:
    """How far the walls must move for ventricles of a volume in a brain of a scale."""
    return float(np.interp(ventricle_ml / (scale[0] * scale[1] * scale[2]), _GROWN_ML, _GROWTH_MM))


def push_aside(points_mm: FloatArray, depth_mm: FloatArray, tumour: TumourParameters) -> FloatArray:
    """Mass effect: tissue around a tumour came from nearer its centre. The skull holds the surface where it is.

    The push never passes 9 mm and fades over 20 mm towards the surface, so that no two places share their tissue.
    """
    pulled = points_mm.copy()
    for focus in tumour.foci:
        offset = points_mm - np.asarray(focus.centre_mm, dtype=np.float32)[:, None]
        distance = np.sqrt((offset**2).sum(axis=0))
        radius = np.float32(focus.radius_mm * 1.15)
        push = np.minimum(tumour.mass_effect, _PUSH_LIMIT_MM / radius).astype(np.float32)
        shift = push * np.minimum(distance, radius) * np.exp(-np.maximum(distance - radius, 0.0) / 24.0)
        shift *= np.clip(depth_mm / 20.0, 0.0, 1.0)
        pulled -= offset * (shift / np.maximum(distance, 1.0)).astype(np.float32)
    return pulled


def midline_shift_mm(tumour: TumourParameters | None) -> float:
    """How far the septum pellucidum is pushed over, in mm of the template; 0 without a tumour."""
    if tumour is None:
        return 0.0
    line = np.zeros((3, 201), dtype=np.float32)
    line[0], line[1], line[2] = np.linspace(-20.0, 20.0, 201), 8.0, 14.0
    origin = push_aside(line, np.full(201, 40.0, dtype=np.float32), tumour)[0]
    return abs(float(line[0, np.abs(origin).argmin()]))


def hippocampus_distance(points_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Millimetres from the axes of the two hippocampi (MNI), and how far of that is sideways and up, (N,) each."""
    head, tail = np.array([27.0, -10.0, -20.0], np.float32), np.array([26.0, -34.0, -6.0], np.float32)
    folded = np.stack([np.abs(points_mm[0]), points_mm[1], points_mm[2]])
    axis = tail - head
    offset = folded - head[:, None]
    along = np.clip((offset * axis[:, None]).sum(axis=0) / np.float32((axis**2).sum()), 0.0, 1.0)
    away = offset - along * axis[:, None]
    return np.sqrt((away**2).sum(axis=0)), (away[0] + away[2]) / np.float32(np.sqrt(2.0))


def _hippocampal_fluid(points_mm: FloatArray, loss: float) -> FloatArray:
    """Share of tissue that fluid takes where a hippocampus has shrunk from the temporal horn and the fissure."""
    distance, outwards = hippocampus_distance(points_mm)
    within = soft_step(HIPPOCAMPUS_MM - distance, 2.5)
    # A plane at radius * cos(angle) cuts the share (angle - sin(angle) cos(angle)) / pi off a disc.
    angles = np.linspace(0.0, np.pi, 64)
    angle = np.interp(loss, (angles - np.sin(angles) * np.cos(angles)) / np.pi, angles)
    taken: FloatArray = within * soft_step(outwards - np.float32(HIPPOCAMPUS_MM * np.cos(angle) + 0.8), 3.0)
    return taken


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
    enclosed = template.enclosed.at(dense)
    patchy = 0.05 * np.clip(smooth_noise(parameters.edge_seed, grid, 11.0)[0], -1.5, 1.5)
    brain = (enclosed > 0.6 + patchy) & (dense[2] > template.enclosed.origin_mm[2])
    # Voxels at the outline are cut by the stripped meninges: without this a bright seam of fluid runs all around.
    inside = np.clip(1.7 * (enclosed[brain] - 0.4), 0.65, 1.0)
    points = dense[:, brain]
    depth = template.depth.at(points)
    pushed = points if tumour is None else push_aside(points, depth, tumour)
    growth = growth_mm(parameters.ventricle_ml, parameters.scale)
    tissue_mm = grow_ventricles(pushed, template, growth)

    whole = np.maximum(template.enclosed.at(tissue_mm), np.float32(0.3))
    grey = np.minimum(template.grey.at(tissue_mm) / whole, 1.0)
    white = np.minimum(template.white.at(tissue_mm) / whole, 1.0 - grey)
    # Sulci differ in width from place to place, not only from brain to brain.
    uneven = np.exp(0.35 * smooth_noise(parameters.warp_seed + 2, grid, 28.0)[0][brain])
    solid = np.clip(grey + white, 0.0, 1.0) ** (1.0 + np.float32(parameters.sulcal_widening) * uneven)
    solid *= 1.0 - _hippocampal_fluid(tissue_mm, parameters.hippocampal_loss)
    shrink = solid / np.maximum(grey + white, np.float32(1e-3))
    grey, white = grey * shrink, white * shrink
    fluid = np.clip(1.0 - grey - white, 0.0, 1.0)

    fractions = np.zeros((len(Tissue), points.shape[1]), dtype=np.float32)
    ventricle_mm = template.ventricle_distance.at(tissue_mm)
    sulcal = np.clip(2.5 * fluid, 0.0, 1.0) * (ventricle_mm > 9.0) * (depth < 22.0)
    blood = np.maximum(template.vessels.at(tissue_mm), sulcal * _cortical_veins(vessels, grid, brain))
    blood = np.clip(blood * np.float32(vessels.fullness), 0.0, 1.0)
    # The plexus does not grow with the ventricle that holds it, and is nowhere a smooth tube.
    tufts = np.clip(0.75 + 0.5 * smooth_noise(vessels.seed + 1, grid, 5.0)[0][brain], 0.0, 1.0)
    choroid = np.minimum(template.choroid.at(pushed) * tufts * np.clip(2.0 * fluid, 0.0, 1.0), 1.0 - blood)
    rest = 1.0 - blood - choroid
    fractions[Tissue.GREY], fractions[Tissue.WHITE], fractions[Tissue.FLUID] = grey * rest, white * rest, fluid * rest
    fractions[Tissue.BLOOD], fractions[Tissue.CHOROID] = blood, choroid
    return Anatomy(brain, points, tissue_mm, fractions, ventricle_mm, inside)
