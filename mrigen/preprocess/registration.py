"""Registration of a brain to the template's in MNI space, by SimpleITK.

Mutual information (Mattes et al., IEEE Trans Med Imaging 22:120, 2003) from coarse to fine, each time from two starts
that must come to the same end. Only affines change; no voxel of the scan is interpolated.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mrigen.preprocess.foreground import Mask, Point
from mrigen.preprocess.intensity import smoothing_sigmas
from mrigen.preprocess.itk import LPS, itk_image, simpleitk
from mrigen.preprocess.masks import on_grid
from mrigen.preprocess.template import BRAIN_CENTRE_MM, load_template
from mrigen.volume import Volume, VolumeError
from mrigen.volume.scan import Affine

GRID_MM = 2
"""Scans are registered on a grid of this spacing, and coarser ones before."""
MIN_OVERLAP = 0.88
"""Dice overlap that a brain must have with the template's, once registered, within what the scan shows."""
BRAIN_SCALES = (0.8, 1.45)
"""By how much a brain may have to grow to be as large as the template's, along any axis."""
MAX_STRETCH = 1.4
"""The largest of these scales against the smallest."""
MAX_TURN_DEGREES = 45.0
"""From where the header says that a head looks."""
MAX_APART_MM = 4.0
"""How far apart the ends of two starts may put the brain's surface."""

STARTS_APART_MM = 20.0
"""How far apart any two starts put it, at least."""
_MARGIN_MM = 8.0
"""Around a brain, where likeness counts."""
_TURNS = (-24.0, 0.0, 24.0)
"""Degrees about each axis by which starts are turned."""
_REACH_MM = 70.0
"""From a brain's centre to its surface."""
_SHARES = {4: 1.0, 2: 0.3, 1: 0.08}
"""Of the points around a brain, how many count on a grid of 4, 2 and 1 times `GRID_MM`."""
_SEED = 1


def register(volume: Volume, brain: Mask, kind: Literal["rigid", "affine"]) -> tuple[Volume, float]:
    """Move a scan of any modality onto the template, by its `brain` (X, Y, Z) alone; gives also their overlap.

    `rigid` takes the turn and the shift of the affine map and leaves the scan's size.

    Raises VolumeError if it does not come to lie on the template as brains do.
    """
    template = load_template(GRID_MM)
    moving = on_straight_grid(volume, brain)
    centre, place = centre_of(template.brain, template.t1.affine), centre_of(moving.array > 0, moving.affine)
    size = np.cbrt((moving.array > 0).sum() / template.brain.sum())
    size = float(np.clip(size, 1 / BRAIN_SCALES[1], 1 / BRAIN_SCALES[0]))
    around: Mask = ndimage.binary_dilation(template.brain, iterations=round(_MARGIN_MM / GRID_MM))
    to_scan, apart = align(template.t1, around, moving, turned_starts(centre, place, size))
    to_template: Affine = np.asarray(np.linalg.inv(to_scan), np.float64)
    overlap = _overlap(to_template, volume, brain)
    if told := implausible(to_template, overlap, apart):
        raise VolumeError(f"not registered to the template: {told}", "registration")
    if kind == "rigid":
        to_template = _without_scales(to_template)
    return Volume(volume.array, to_template @ volume.affine), overlap


def on_straight_grid(volume: Volume, inside: Mask, margin_mm: float = _MARGIN_MM) -> Volume:
    """What is `inside`, from 0.1 to 1 and 0 elsewhere, on a grid along the axes of space with `GRID_MM`, which holds it
    with a margin.
    """
    low, high = np.percentile(volume.array[inside], (1, 99))
    scaled = 0.1 + 0.9 * np.clip((volume.array - low) / max(1e-12, high - low), 0, 1)
    values = np.where(inside, scaled, 0).astype(np.float32)
    sigmas = smoothing_sigmas(volume.spacing_mm, GRID_MM)
    if any(sigmas):
        values = ndimage.gaussian_filter(values, sigmas, mode="nearest", truncate=3.0)
    ends = np.array([[place.start, place.stop - 1] for place in ndimage.find_objects(inside.astype(np.uint8))[0]])
    corners = np.array(list(itertools.product(*ends))) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    low_mm, high_mm = corners.min(axis=0) - margin_mm, corners.max(axis=0) + margin_mm
    affine = np.diag([GRID_MM, GRID_MM, GRID_MM, 1.0])
    affine[:3, 3] = low_mm
    grid = Volume(np.zeros(np.ceil((high_mm - low_mm) / GRID_MM).astype(int) + 1, np.float32), affine)
    return Volume(on_grid(values, volume.affine, grid, order=1), affine)


def centre_of(mask: Mask, affine: Affine) -> Point:
    """Where the middle of a mask (X, Y, Z) lies, (3,) in RAS+ mm."""
    centre: Point = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    return centre


def turned_starts(centre: Point, place: Point, size: float = 1.0) -> list[Affine]:
    """Maps that put `centre` at `place`, at that size, turned by `_TURNS` about each axis."""
    starts = []
    for turn in itertools.product(_TURNS, repeat=3):
        start = np.eye(4)
        start[:3, :3] = size * Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
        start[:3, 3] = place - start[:3, :3] @ centre
        starts.append(start)
    return starts


def align(
    fixed: Volume,
    around: Mask,
    moving: Volume,
    starts: Sequence[Affine],
    *,
    num_climbed: int = 2,
    score: Callable[[Affine], float] | None = None,
) -> tuple[Affine, float]:
    """The map from `fixed` to `moving` space under which the two are most alike `around` the brain of `fixed`.

    `num_climbed` starts go to their ends: those which are most alike, of poses that differ. Gives the best end, made
    finer, and how many mm apart it and the nearest other end put the brain's surface. With a `score` of ends the map is
    rigid, and the best end is that of the highest score, not that which is most alike.

    Raises VolumeError if the optimiser finds no way.
    """
    sitk = simpleitk()
    whole = _itk(sitk, fixed), _itk(sitk, moving), itk_image(sitk, around.astype(np.uint8), fixed.affine)
    middle = LPS[:3, :3] @ centre_of(around, fixed.affine)
    levels = {shrink: _shrunk(sitk, whole, shrink) for shrink in _SHARES}
    method = _method(sitk, 4, levels[4][2])
    first, then = (
        (sitk.VersorRigid3DTransform, sitk.VersorRigid3DTransform)
        if score
        else (sitk.Similarity3DTransform, functools.partial(sitk.AffineTransform, 3))
    )
    poses = [_set(first(), start, middle) for start in starts]

    def unlikeness(pose: Any) -> float:
        method.SetInitialTransform(pose)
        try:
            return float(method.MetricEvaluate(*levels[4][:2]))
        except RuntimeError:  # the two do not meet
            return 0.0

    centre = LPS[:3, :3] @ middle
    chosen: list[Any] = []
    for pose in sorted(poses, key=unlikeness):
        differs = all(apart_mm(_map(pose), _map(one), centre) > STARTS_APART_MM for one in chosen)
        if differs and len(chosen) < num_climbed:
            chosen.append(pose)

    def climb(transform: Any, shrink: int) -> float:
        method = _method(sitk, shrink, levels[shrink][2])
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(*levels[shrink][:2])
        return float(method.GetMetricValue())

    ends = []
    try:
        for pose in chosen:
            climb(pose, 4)
            end = _set(then(), _map(pose), middle)
            likeness = -climb(end, 2)
            ends.append((score(_map(end)) if score else likeness, end))
        ends.sort(key=lambda end: -end[0])
        best = ends[0][1]
        apart = min(apart_mm(_map(best), _map(end), centre) for _, end in ends[1:])
        climb(best, 1)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise VolumeError(f"not registered: {reason}", "registration") from None
    return _map(best), apart


def _itk(sitk: Any, volume: Volume) -> Any:
    return itk_image(sitk, volume.array, volume.affine)


def _shrunk(sitk: Any, images: Sequence[Any], shrink: int) -> list[Any]:
    """Two images, smoothed for it, and a mask, with every `shrink`-th voxel along each axis."""
    if shrink == 1:
        return list(images)
    sigma = 0.42 * shrink * GRID_MM
    smooth = [sitk.SmoothingRecursiveGaussian(image, sigma) for image in images[:2]]
    return [sitk.Shrink(image, [shrink] * 3) for image in (*smooth, images[2])]


def _method(sitk: Any, shrink: int, around: Any) -> Any:
    """Gradient descent on mutual information, whose first step is half a voxel."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(24)
    if _SHARES[shrink] < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(_SHARES[shrink], _SEED)
    method.SetMetricFixedMask(around)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(0.5 * shrink * GRID_MM, 0.02, 80, 0.6, 1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _set(transform: Any, to_moving: Affine, middle: Point) -> Any:
    """Make a transform that turns about `middle` (LPS+) do what an affine map does."""
    lps = LPS @ to_moving @ LPS
    transform.SetCenter(middle.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation((lps[:3, :3] @ middle + lps[:3, 3] - middle).tolist())
    return transform


def _map(transform: Any) -> Affine:
    """What a transform does, as an affine map."""
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    middle = np.array(transform.GetCenter())
    lps[:3, 3] = middle + np.array(transform.GetTranslation()) - lps[:3, :3] @ middle
    mapped: Affine = LPS @ lps @ LPS
    return mapped


def apart_mm(one: Affine, other: Affine, centre: Point) -> float:
    """The largest distance between where two maps put the ends of a brain's axes."""
    ends = np.vstack([np.hstack([np.eye(3), -np.eye(3)]) * _REACH_MM + centre[:, None], np.ones(6)])
    return float(np.linalg.norm(((one - other) @ ends)[:3], axis=0).max())


def _overlap(to_template: Affine, volume: Volume, brain: Mask) -> float:
    """Dice overlap of a brain with the template's, within what the scan shows."""
    template = load_template(GRID_MM)
    affine = to_template @ volume.affine
    found = on_grid(brain.astype(np.uint8), affine, template.t1) > 0
    shown = on_grid(np.ones(brain.shape, np.uint8), affine, template.t1) > 0
    expected = template.brain & shown
    return float(2 * (found & expected).sum() / max(1, found.sum() + expected.sum()))


def _turn_and_scales(to_template: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The turn (3, 3) that is nearest to an affine map, and its scales (3,), the largest first."""
    left, scales, right = np.linalg.svd(to_template[:3, :3])
    return left @ right, scales


def implausible(to_template: Affine, overlap: float, apart: float) -> str | None:
    """What an affine map has that no head's has, in words."""
    turn, scales = _turn_and_scales(to_template)
    degrees = float(np.degrees(Rotation.from_matrix(turn).magnitude()))
    low, high = BRAIN_SCALES
    if apart > MAX_APART_MM:
        return f"two starts ended {apart:.0f} mm apart, {MAX_APART_MM:g} are allowed"
    if not (low <= scales[2] and scales[0] <= high):
        return f"its axes would be scaled by {scales[2]:.2f} to {scales[0]:.2f}, {low} to {high} are allowed"
    if scales[0] > MAX_STRETCH * scales[2]:
        stretch = scales[0] / scales[2]
        return f"one axis would be stretched {stretch:.2f} times as much as another, {MAX_STRETCH} are allowed"
    if degrees > MAX_TURN_DEGREES:
        return f"it would be turned by {degrees:.0f} degrees, {MAX_TURN_DEGREES:g} are allowed"
    if overlap < MIN_OVERLAP:
        return f"the brains overlap by {overlap:.0%}, {MIN_OVERLAP:.0%} are needed"
    return None


def _without_scales(to_template: Affine) -> Affine:
    """The turn of an affine map, and the shift that puts the same place at the template's centre."""
    rigid = np.eye(4)
    rigid[:3, :3], _ = _turn_and_scales(to_template)
    rigid[:3, 3] = BRAIN_CENTRE_MM - rigid[:3, :3] @ (np.linalg.inv(to_template) @ [*BRAIN_CENTRE_MM, 1.0])[:3]
    return rigid
