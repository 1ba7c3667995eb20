"""Coronal and sagittal slices and whole volumes: planes of one another, in the right place."""

from __future__ import annotations

import numpy as np
import pytest

from mrigen.config import DataConfig
from mrigen.preprocess import prepare_images, slice_affine
from mrigen.preprocess.sampling import scan_images
from mrigen.volume import Volume
from tests.fake_scans import made_up_scan

WHOLE = DataConfig(spatial_dims=3, image_size=40, spacing_mm=5.0, clip_percentiles=(0.5, 100))
PLANES = ("axial", "coronal", "sagittal")


def with_landmark() -> tuple[Volume, np.ndarray]:
    """A brain with one bright ball, and where its centre is in RAS+ mm."""
    scan = made_up_scan(1)
    place = np.array([18.0, -30.0, 22.0])
    grid = np.stack(np.meshgrid(*map(np.arange, scan.array.shape), indexing="ij"), -1)
    distance = np.linalg.norm(grid @ scan.affine[:3, :3].T + scan.affine[:3, 3] - place, axis=-1)
    return Volume(np.where(distance < 9, 2000, np.minimum(scan.array, 600)).astype(np.float32), scan.affine), place


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_is_a_plane_of_the_volume(plane: str) -> None:
    scan, _ = with_landmark()
    [whole] = scan_images(scan, WHOLE, subject="a")
    axes = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}[plane]
    # Heights that fall on the volume's own planes: half a voxel off the centre.
    data = WHOLE.model_copy(
        update={"spatial_dims": 2, "plane": plane, "slice_range_mm": (-2.5, -2.4999), "slice_step_mm": 1e-4}
    )
    [cut] = scan_images(scan, data, subject="a")
    np.testing.assert_allclose(cut.image, whole.image.transpose(axes)[:, :, 19], atol=1e-3)


@pytest.mark.parametrize("plane", PLANES)
def test_the_affine_leads_to_the_landmark(plane: str) -> None:
    scan, place = with_landmark()
    data = DataConfig(plane=plane, slice_range_mm=(-60, 60), slice_step_mm=3.0, clip_percentiles=(0.5, 100))
    images = scan_images(scan, data, subject="a")
    brightest = max(images, key=lambda image: float(np.sort(image.image.ravel())[-12:].sum()))
    points = np.argwhere(brightest.image > 0).mean(0)
    found = brightest.affine @ [*points, 0, 1]
    assert np.abs(found[:3] - place).max() < 5


def test_the_affine_of_a_volume_leads_to_the_landmark() -> None:
    scan, place = with_landmark()
    [whole] = scan_images(scan, WHOLE, subject="a")
    assert (whole.image.shape, whole.slice_mm) == ((40, 40, 40), 0.0)
    found = whole.affine @ [*np.argwhere(whole.image > 0).mean(0), 1]
    assert np.abs(found[:3] - place).max() < 3


@pytest.mark.parametrize("plane", PLANES)
def test_a_synthetic_slice_lies_where_a_real_one_does(plane: str) -> None:
    data = DataConfig(plane=plane)
    image = scan_images(made_up_scan(1), data, subject="a")[0]
    affine = slice_affine(data, image.slice_mm)
    np.testing.assert_allclose(affine[:3, :3], image.affine[:3, :3])
    middle = np.mean([affine @ [i, j, 0, 1] for i in (0, 63) for j in (0, 63)], axis=0)
    normal = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    np.testing.assert_allclose(middle[:3], image.slice_mm * np.eye(3)[normal], atol=1e-9)
    np.testing.assert_allclose(image.affine[:3, 3] - affine[:3, 3], [0, 0, 0], atol=4.1)  # the scan's own centre


def test_what_is_shown_of_intensities_is_of_the_foreground_only() -> None:
    done = prepare_images(made_up_scan(1), DataConfig(), subject="a")
    assert done.stripped
    assert done.raw_intensities.min() > 0
    assert len(done.raw_intensities) == len(done.scaled_intensities) <= 20_000
    assert np.corrcoef(done.raw_intensities, done.scaled_intensities)[0, 1] > 0.99
