"""Images of an analytic brain, stored on every kind of grid, against the formula that it was made from."""

from __future__ import annotations

from functools import cache
from typing import Any

import nibabel
import numpy as np
import pytest

from mrigen.config import DataConfig
from mrigen.preprocess.foreground import Foreground, find_foreground
from mrigen.preprocess.intensity import normalise, smoothing_sigmas
from mrigen.preprocess.sampling import TrainingImage, scan_images, slice_heights
from mrigen.volume import Volume, VolumeError

Array = np.ndarray[Any, Any]
RADII = np.array([62.0, 76.0, 58.0])
CENTRE = np.array([5.0, -12.0, 20.0])
DATA = DataConfig(image_size=64, spacing_mm=3.0, slice_range_mm=(-30.0, 30.0), slice_step_mm=10.0)


def inside(points: Array) -> Array:
    """Whether RAS+ points (..., 3) lie in the ellipsoid of a brain."""
    return (((points - CENTRE) / RADII) ** 2).sum(-1) <= 1.0


def intensity(points: Array) -> Array:
    """Smooth, and different along every axis and direction."""
    x, y, z = np.moveaxis(points - CENTRE, -1, 0)
    return 500 + 2.0 * x + 1.0 * y + 3.0 * z + 60 * np.sin(x / 20) * np.cos(y / 25)


def brain_on(affine: Array, shape: tuple[int, int, int], background: float = 0.0) -> Volume:
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume(np.where(inside(points), intensity(points), background).astype(np.float32), affine)


@cache
def grid(spacing: tuple[float, float, float], codes: str = "RAS", turn_deg: float = 0.0) -> Volume:
    """The brain on a grid of a spacing, whose axes run along `codes` and are turned about x and z."""
    size = np.ceil(186 / np.array(spacing)).astype(int)
    a = np.deg2rad(turn_deg)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing)
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((size - 1) / 2) + 0.3
    volume = brain_on(affine, (int(size[0]), int(size[1]), int(size[2])))
    image = nibabel.Nifti1Image(volume.array, volume.affine)
    orientations = nibabel.orientations
    turned = image.as_reoriented(
        orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(codes)))
    )
    return Volume(np.asarray(turned.dataobj), turned.affine)


@cache
def percentiles(of: tuple[float, float]) -> Array:
    """Those of the formula over the whole brain."""
    dense = np.stack(np.meshgrid(*(c + r * np.linspace(-1, 1, 101) for c, r in zip(CENTRE, RADII, strict=True))), -1)
    return np.percentile(intensity(dense[inside(dense)]), of)


def expected_image(image: TrainingImage, data: DataConfig) -> tuple[Array, Array]:
    """The formula where the slice says it lies, scaled by dense percentiles; and the pixels well inside."""
    low, high = percentiles(data.clip_percentiles)
    x, y = np.meshgrid(np.arange(data.image_size), np.arange(data.image_size), indexing="ij")
    points = np.stack([x, y, np.zeros_like(x)], -1) @ image.affine[:3, :3].T + image.affine[:3, 3]
    values = np.clip((intensity(points) - low) / (high - low) * 2 - 1, -1, 1)
    well = (((points - CENTRE) / (RADII - 9)) ** 2).sum(-1) <= 1.0
    return np.where(inside(points), values, -1.0), well


GRIDS: dict[str, Any] = {
    "2 mm": ((2.0, 2.0, 2.0),),
    "fine": ((1.5, 1.5, 1.5),),
    "flipped": ((2.0, 2.0, 2.0), "LPI"),
    "sagittal": ((2.0, 2.5, 2.0), "PSR"),
    "thick slices": ((1.5, 1.5, 4.0),),
    "thick, coronal": ((1.5, 4.0, 1.5), "RIA"),
    "oblique": ((2.0, 2.0, 2.0), "RAS", 17.0),
    "oblique, thick, flipped": ((1.5, 1.5, 3.0), "LPS", -12.0),
}


@pytest.mark.parametrize("name", GRIDS)
def test_images_are_those_of_the_formula_on_any_grid(name: str) -> None:
    volume = grid(*GRIDS[name])
    images = scan_images(volume, DATA, subject="a")
    assert [image.slice_mm for image in images] == slice_heights(DATA, "a")
    assert len(images) == 6
    for image in images:
        expected, well = expected_image(image, DATA)
        assert image.image.shape == (64, 64)
        assert image.image.dtype == np.float32
        assert np.abs(image.image - expected)[well].max() < 0.012
        assert np.abs(image.image - expected).mean() < 0.03
        assert (image.image[0] == -1).all()
        assert (image.image[:, -1] == -1).all()
        middle = image.affine @ [31.5, 31.5, 0, 1]
        off = middle[:3] - CENTRE - np.array([0, 0, image.slice_mm])
        assert np.abs(off).max() <= max(volume.spacing_mm) / 2 + 0.3


@pytest.mark.parametrize("codes", ["LPS", "PSR", "SAL", "IRP"])
def test_the_order_of_stored_axes_changes_nothing(codes: str) -> None:
    reference = scan_images(grid((2.0, 2.0, 2.0)), DATA, subject="a")
    turned = scan_images(grid((2.0, 2.0, 2.0), codes), DATA, subject="a")
    for one, other in zip(reference, turned, strict=True):
        np.testing.assert_allclose(one.image, other.image, atol=2e-5)
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)


def test_where_the_scanner_put_the_head_changes_nothing() -> None:
    volume = grid((2.0, 2.0, 2.0))
    moved = volume.affine.copy()
    moved[:3, 3] += [31.0, -7.0, 50.0]
    for one, other in zip(
        scan_images(volume, DATA, subject="a"), scan_images(Volume(volume.array, moved), DATA, subject="a"), strict=True
    ):
        np.testing.assert_allclose(one.image, other.image, atol=2e-5)
        np.testing.assert_allclose(other.affine[:3, 3] - one.affine[:3, 3], [31.0, -7.0, 50.0])


def test_right_and_front_are_where_the_axes_grow() -> None:
    volume = grid((2.0, 2.0, 2.0))
    array = volume.array.copy()
    points = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1) * 2.0 + volume.affine[:3, 3]
    right = np.linalg.norm(points - CENTRE - [35, 0, 0], axis=-1) < 12
    front = np.linalg.norm(points - CENTRE - [0, 45, 0], axis=-1) < 12
    array[right], array[front] = 5000, 0.1
    data = DATA.model_copy(update={"slice_range_mm": (0.0, 1.0), "slice_step_mm": 1.0, "clip_percentiles": (0, 100)})
    (image,) = scan_images(Volume(array, volume.affine), data, subject="a")
    assert image.image[32 + 12, 32] > 0.9
    assert image.image[32 - 12, 32] < 0
    assert image.image[32, 32 + 15] < image.image[32, 32 - 15] - 0.05
    pixel = image.affine @ [32 + 12, 32, 0, 1]
    np.testing.assert_allclose(pixel[:3], CENTRE + np.array([37.5, 1.5, image.slice_mm]), atol=1.5)


def test_down_sampling_does_not_alias() -> None:
    """White noise shrinks as a Gaussian filter shrinks it, by (2 sigma sqrt(pi))^(3/2); sampling alone keeps more."""
    array = np.zeros((150, 150, 110), np.float32)
    array[10:140, 10:140, 5:105] = np.random.default_rng(0).uniform(100, 300, (130, 130, 100))
    data = DATA.model_copy(update={"spacing_mm": 4.0, "slice_range_mm": (-30.0, 30.0), "slice_step_mm": 10.0})
    (sigma, *_) = smoothing_sigmas((1.0, 1.0, 1.0), 4.0)
    filtered = 1 / np.sqrt(3) / (2 * sigma * np.sqrt(np.pi)) ** 1.5
    images = scan_images(Volume(array, np.eye(4)), data, subject="a")
    assert np.std([image.image[20:44, 20:44] for image in images]) == pytest.approx(filtered, rel=0.15)


def test_the_filter_adds_up_to_the_targets_width() -> None:
    """Widths of Gaussians add in squares: voxel and filter together have the target's full width at half maximum."""
    width = 2 * np.sqrt(2 * np.log(2))
    for sigma, spacing in zip(smoothing_sigmas((1.0, 0.5, 2.5), 3.0), (1.0, 0.5, 2.5), strict=True):
        assert np.hypot(spacing / width, sigma * spacing) == pytest.approx(3.0 / width)
    assert smoothing_sigmas((3.0, 4.0, 20.0), 3.0) == [0.0, 0.0, 0.0]


def test_heights_are_the_subjects_own_and_cover_the_range() -> None:
    data = DataConfig(slice_range_mm=(-20.0, 46.0), slice_step_mm=6.0)
    offsets = []
    for number in range(400):
        heights = slice_heights(data, f"s{number}")
        assert heights == slice_heights(data, f"s{number}")
        np.testing.assert_allclose(np.diff(heights), 6.0)
        assert -20 <= heights[0] < -14
        assert 40 < heights[-1] <= 46
        offsets.append((heights[0] + 20) / 6)
    assert np.histogram(offsets, bins=4, range=(0, 1))[0].min() > 70
    assert slice_heights(data.model_copy(update={"slice_range_mm": (0.0, 0.0)}), "a") in ([], [0.0])


@pytest.mark.parametrize("background", [0.0, -300.0, 480.0, 5000.0])
def test_a_stripped_brain_is_found_whatever_the_value_around_it(background: float) -> None:
    reference = grid((2.0, 2.0, 2.0))
    array = np.where(reference.array == 0, background, reference.array).astype(np.float32)
    volume = Volume(array, reference.affine)
    found = find_foreground(volume)
    assert found.stripped
    np.testing.assert_array_equal(found.mask, find_foreground(reference).mask)
    np.testing.assert_allclose(found.centre_mm, CENTRE, atol=1.1)
    for one, other in zip(
        scan_images(volume, DATA, subject="a"), scan_images(reference, DATA, subject="a"), strict=True
    ):
        np.testing.assert_array_equal(one.image, other.image)


def whole_head(neck: bool) -> Volume:
    """A brain in dark bone in bright skin, air with noise, and a neck or none; 3 mm."""
    rng = np.random.default_rng(0)
    axes = [3.0 * np.arange(n) - 3.0 * n / 2 for n in (66, 80, 100)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    z = z - 40
    radius = np.sqrt((x / 78) ** 2 + (y / 95) ** 2 + (z / 85) ** 2)
    array = np.abs(rng.normal(0, 10, x.shape))
    array[radius < 1] = 700
    array[radius < 0.93] = 30
    array[radius < 0.86] = 400
    if neck:
        array[(np.hypot(x, y + 20) < 60) & (z < -60)] = 500
    return Volume(array.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))


def test_a_whole_head_is_told_from_air_and_not_taken_for_a_brain() -> None:
    found = find_foreground(whole_head(neck=False))
    assert not found.stripped
    litres = found.mask.sum() * 27e-6
    assert litres == pytest.approx(4 / 3 * np.pi * 0.78 * 0.95 * 0.85, rel=0.05)
    assert found.mask[33, 40, 63]  # the dark bone is inside: holes are filled


def test_a_head_that_the_scan_cuts_is_closed_all_the_same() -> None:
    volume = whole_head(neck=True)
    cut = Volume(volume.array[:, :, 35:70], volume.affine)
    found = find_foreground(cut)
    assert found.mask[33, 40, 63 - 35]
    assert found.mask[33, 40, 5]
    np.testing.assert_allclose(found.mask.sum(), find_foreground(volume).mask[:, :, 35:70].sum(), rtol=0.02)


def test_a_neck_does_not_lower_the_centre() -> None:
    without, with_neck = find_foreground(whole_head(neck=False)), find_foreground(whole_head(neck=True))
    np.testing.assert_allclose(without.centre_mm, with_neck.centre_mm, atol=3.1)


def test_the_centre_is_that_of_the_box_and_not_of_the_mass() -> None:
    array = np.zeros((40, 40, 40), np.float32)
    array[4:14, 4:36, 4:36] = 1 + np.arange(10)[:, None, None]
    array[14:30, 4:8, 4:8] = 5
    affine = np.diag([-2.0, 3.0, 2.0, 1.0])
    found = find_foreground(Volume(array, affine))
    np.testing.assert_allclose(found.centre_mm, [-2 * (4 + 29) / 2, 3 * (4 + 35) / 2, 2 * (4 + 35) / 2])


def test_slices_that_miss_the_head_are_left_out() -> None:
    wide = DATA.model_copy(update={"slice_range_mm": (-100.0, 100.0)})
    heights = [image.slice_mm for image in scan_images(grid((2.0, 2.0, 2.0)), wide, subject="a")]
    assert heights == [h for h in slice_heights(wide, "a") if abs(h) < 53]
    nothing = DATA.model_copy(update={"slice_range_mm": (70.0, 100.0)})
    assert scan_images(grid((2.0, 2.0, 2.0)), nothing, subject="a") == []


def test_a_mask_is_no_scan() -> None:
    array = (grid((2.0, 2.0, 2.0)).array > 0).astype(np.float32)
    with pytest.raises(VolumeError, match="no contrast"):
        scan_images(Volume(array, grid((2.0, 2.0, 2.0)).affine), DATA, subject="a")


def test_percentiles_become_the_ends_of_the_scale() -> None:
    array = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    mask = array >= 500
    volume = Volume(array, np.eye(4))
    scaled = normalise(volume, Foreground(mask, True, np.zeros(3)), (10.0, 90.0))
    low, high = np.percentile(array[mask], (10, 90))
    assert scaled.dtype == np.float32
    assert (scaled[~mask] == -1).all()
    assert (scaled[mask & (array <= low)] == -1).all()
    assert (scaled[array >= high] == 1).all()
    between = mask & (array > low) & (array < high)
    np.testing.assert_allclose(scaled[between], (array[between] - low) / (high - low) * 2 - 1, atol=1e-5)
