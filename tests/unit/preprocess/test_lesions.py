"""Masks of lesions, carried with their scan."""

from __future__ import annotations

import numpy as np
import pytest

from mrigen.config import load_config
from mrigen.preprocess.masks import lesions_on_grid
from mrigen.preprocess.sampling import scan_images
from mrigen.volume import Volume, VolumeError
from tests.fake_scans import made_up_scan

DATA = load_config("tiny").data.model_copy(update={"image_size": 64, "spacing_mm": 3.0})


def ball(volume: Volume, centre_mm: tuple[float, float, float], radius_mm: float) -> Volume:
    """Labels on a volume's grid: 2 within a ball, 0 elsewhere."""
    index = np.moveaxis(np.indices(volume.array.shape), 0, -1)
    places = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    inside = np.linalg.norm(places - np.array(centre_mm), axis=-1) < radius_mm
    return Volume(np.where(inside, 2.0, 0.0).astype(np.float32), volume.affine)


def test_a_mask_lies_where_the_lesion_is_seen() -> None:
    """A bright ball in a dark brain: the mask of every slice is where the slice is bright."""
    scan = made_up_scan(1)
    labels = ball(scan, (20.0, -10.0, 15.0), 16.0)
    bright = Volume(np.where(labels.array > 0, 2000.0, scan.array).astype(np.float32), scan.affine)
    images = scan_images(bright, DATA, subject="a", lesions=lesions_on_grid(labels, bright))
    shown = 0
    for image in images:
        assert image.lesions is not None
        seen = image.image > 0.0
        shown += seen.sum()
        assert (seen != image.lesions).sum() <= 0.25 * seen.sum() + 4, image.slice_mm
    assert shown > 50


def test_the_mask_does_not_depend_on_the_order_of_axes() -> None:
    scan = made_up_scan(1)
    labels = ball(scan, (20.0, -10.0, 15.0), 16.0)
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = scan.array.shape[0] - 1
    turned = [Volume(np.ascontiguousarray(one.array[::-1]), one.affine @ flipped) for one in (scan, labels)]
    plain = scan_images(scan, DATA, subject="a", lesions=lesions_on_grid(labels, scan))
    other = scan_images(turned[0], DATA, subject="a", lesions=lesions_on_grid(turned[1], turned[0]))
    assert np.array_equal([one.lesions for one in plain], [one.lesions for one in other])
    across = lesions_on_grid(turned[1], scan)  # each in its own order
    assert np.array_equal(across, labels.array > 0)


def test_a_mask_on_another_grid_is_sampled_on_the_scans() -> None:
    scan = made_up_scan(1)
    fine = Volume(np.zeros((96, 112, 96), np.float32), scan.affine @ np.diag([0.5, 0.5, 0.5, 1.0]))
    lesions = lesions_on_grid(ball(fine, (20.0, -10.0, 15.0), 16.0), scan)
    litres = lesions.sum() * 64 / 1e6
    assert litres == pytest.approx(4 / 3 * np.pi * 16**3 / 1e6, rel=0.1)


def test_specks_that_fill_little_of_a_pixel_mark_none() -> None:
    """Lone voxels, one in 64: a pixel of 12 mm whose centre lies in one of 4 mm shows far less than half of it."""
    data = DATA.model_copy(update={"image_size": 16, "spacing_mm": 12.0})
    scan = made_up_scan(1)
    specks = np.zeros(scan.array.shape, bool)
    specks[::4, ::4, ::4] = True
    images = scan_images(scan, data, subject="a", lesions=specks)
    assert images
    assert not any(one.lesions.any() for one in images if one.lesions is not None)
    filled = scan_images(scan, data, subject="a", lesions=np.ones_like(specks))
    assert all(one.lesions is not None and one.lesions[8, 8] for one in filled)


def test_unmarked_scans_and_scans_without_lesions_are_told_apart() -> None:
    scan = made_up_scan(1)
    nothing = Volume(np.zeros_like(scan.array), scan.affine)
    known = scan_images(scan, DATA, subject="a", lesions=lesions_on_grid(nothing, scan))
    assert all(one.lesions is not None and not one.lesions.any() for one in known)
    assert all(one.lesions is None for one in scan_images(scan, DATA, subject="a"))


def test_a_mask_of_another_place_is_refused() -> None:
    scan = made_up_scan(1)
    away = Volume(np.ones((4, 4, 4), np.float32), np.diag([1.0, 1.0, 1.0, 1.0]) + np.pad([[900.0]], ((0, 3), (3, 0))))
    with pytest.raises(VolumeError, match="no lesion of the mask lies within the scan"):
        lesions_on_grid(away, scan)


def test_a_volume_carries_a_mask_of_its_shape() -> None:
    data = DATA.model_copy(update={"spatial_dims": 3, "image_size": 32, "spacing_mm": 6.0})
    scan = made_up_scan(1)
    (image,) = scan_images(scan, data, subject="a", lesions=lesions_on_grid(ball(scan, (0.0, 0.0, 20.0), 20.0), scan))
    assert image.lesions is not None
    assert image.lesions.shape == (32, 32, 32)
    litres = image.lesions.sum() * 216 / 1e6
    assert litres == pytest.approx(4 / 3 * np.pi * 20**3 / 1e6, rel=0.2)
