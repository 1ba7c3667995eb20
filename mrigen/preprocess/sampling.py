"""Training images from a scan: axial, coronal or sagittal slices, or one whole volume, on a fixed grid.

All are sampled in scanner space (RAS+ millimetres), so an image does not depend on the order, the direction or the
tilt of the axes in which the file stored its voxels.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.config import DataConfig
from mrigen.preprocess.foreground import Foreground, Mask, find_foreground
from mrigen.preprocess.intensity import normalise, smoothing_sigmas
from mrigen.preprocess.masks import Shares, area_mean, mask_of_shares
from mrigen.volume import Volume
from mrigen.volume.scan import Affine

IMAGE_AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""Which RAS+ axes (0: right, 1: front, 2: up) a slice's first and second axis and its normal run along."""


def mirrors(plane: str) -> bool:
    """Whether a slice's first axis runs from left to right, so that flipping it gives the same head mirrored."""
    return IMAGE_AXES[plane][0] == 0


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One image, float32 with values in [-1, 1]: a slice (S, S), as [x, y], [x, z] or [y, z] in RAS+ by its plane, or a
    volume (S, S, S) as [x, y, z].

    `lesions` is a mask of the image's shape with as many pixels as there is lesion in them all, by `mask_of_shares`;
    None where nobody knows.
    `slice_mm` is the place along the plane's normal from the centre of the foreground, 0 of a volume; `affine` leads
    from (i, j, 0) of a slice, (i, j, k) of a volume, to the scan's RAS+ millimetres.
    """

    image: NDArray[np.float32]
    slice_mm: float
    affine: Affine
    lesions: Mask | None = None


def slice_affine(data: DataConfig, slice_mm: float) -> Affine:
    """Affine of a synthetic (S, S, 1) slice, `slice_mm` along the plane's normal, or of an (S, S, S) volume: cubic
    voxels, centred at 0. The third axis runs along the normal, so coronal slices are left-handed."""
    return _image_affine(data, np.zeros(3), slice_mm)


def _image_affine(data: DataConfig, centre_mm: NDArray[np.float64], slice_mm: float) -> Affine:
    volume = data.spatial_dims == 3
    first, second, normal = IMAGE_AXES["axial" if volume else data.plane]
    half = (data.image_size - 1) / 2 * data.spacing_mm
    affine = np.zeros((4, 4))
    affine[[first, second, normal], [0, 1, 2]] = data.spacing_mm
    affine[3, 3] = 1.0
    affine[:3, 3] = centre_mm
    affine[[first, second], 3] -= half
    affine[normal, 3] += slice_mm - half if volume else slice_mm
    return affine


def slice_heights(data: DataConfig, subject: str) -> list[float]:
    """Positions of a subject's slices along the plane's normal, in mm.

    They are `slice_step_mm` apart, from an offset below one step that is the subject's own. A whole volume lies at 0.
    """
    if data.spatial_dims == 3:
        return [0.0]
    low, high = data.slice_range_mm
    digest = hashlib.sha256(f"mrigen slices {subject}".encode()).digest()
    start = low + data.slice_step_mm * int.from_bytes(digest[:6], "big") / 2**48
    count = max(0, math.floor((high - start) / data.slice_step_mm + 1e-9) + 1)
    return [start + k * data.slice_step_mm for k in range(count)]


def scan_images(
    volume: Volume,
    data: DataConfig,
    *,
    subject: str,
    foreground: Foreground | None = None,
    scaled: NDArray[np.float32] | None = None,
    lesions: Shares | None = None,
) -> list[TrainingImage]:
    """The training images of one scan: its slices from the lowest position up, or itself as one volume.

    Slices lie at `slice_heights` from the foreground's centre and are centred on it; those with less than
    `min_foreground` of it are left out, so the list can be empty. `scaled` is what `normalise` gives, where it is at
    hand; `lesions` is the share of each voxel that is lesion, where it is known.

    Raises VolumeError if the scan has no foreground or no contrast.
    """
    foreground = foreground or find_foreground(volume)
    if scaled is None:
        scaled = normalise(volume, foreground, data.clip_percentiles)
    sigmas = smoothing_sigmas(volume.spacing_mm, data.spacing_mm)
    if any(sigmas):
        scaled = ndimage.gaussian_filter(scaled, sigmas, mode="nearest", truncate=3.0)
    to_voxel = np.linalg.inv(volume.affine)
    cells = (*data.image_shape, 1)[:3]
    images, owed = [], 0.0
    for height in slice_heights(data, subject):
        affine = _image_affine(data, foreground.centre_mm, height)
        pixel_to_voxel = to_voxel @ affine
        if data.spatial_dims == 2 and _foreground_share(foreground.mask, pixel_to_voxel, data) < data.min_foreground:
            continue
        image = np.clip(_sample(scaled, pixel_to_voxel, data, beyond=-1.0), -1.0, 1.0)
        marked = None
        if lesions is not None:
            marked, owed = mask_of_shares(area_mean(lesions, pixel_to_voxel, cells).reshape(image.shape), owed)
        images.append(TrainingImage(image, height, affine, marked))
    return images


def _sample(
    values: NDArray[np.float32], pixel_to_voxel: Affine, data: DataConfig, *, beyond: float
) -> NDArray[np.float32]:
    """A slice, or a volume plane by plane, by linear interpolation; `beyond` is the value outside of the scan."""
    if data.spatial_dims == 2:
        return _plane(values, _pixel_voxels(pixel_to_voxel, data), beyond)
    heights = range(data.image_size)
    return np.stack([_plane(values, _pixel_voxels(pixel_to_voxel, data, k), beyond) for k in heights], axis=2)


def _plane(values: NDArray[np.float32], points: NDArray[np.float64], beyond: float) -> NDArray[np.float32]:
    plane: NDArray[np.float32] = ndimage.map_coordinates(
        values, points, np.float32, order=1, mode="constant", cval=beyond
    )
    return plane


def _foreground_share(mask: Mask, pixel_to_voxel: Affine, data: DataConfig) -> float:
    points = _pixel_voxels(pixel_to_voxel, data)
    last = np.array(mask.shape)[:, None, None] - 1
    within = ((points >= 0) & (points <= last)).all(axis=0)
    return np.count_nonzero(mask[tuple(np.floor(points[:, within] + 0.5).astype(np.intp))]) / within.size


def _pixel_voxels(affine: Affine, data: DataConfig, height: int = 0) -> NDArray[np.float64]:
    """Voxel coordinates (3, S, S) of a slice's pixels, or of a volume's plane, by `affine` from pixels to voxels."""
    steps = np.arange(data.image_size)
    first, second = affine[:3, 0, None, None] * steps[:, None], affine[:3, 1, None, None] * steps
    corner = affine[:3, 3] + height * affine[:3, 2]
    points: NDArray[np.float64] = first + second + corner[:, None, None]
    return points
