"""Masks of lesions, carried with their scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mrigen.config import DataConfig, load_config
from mrigen.labels import Modality, Pathology
from mrigen.phantom import make_subject
from mrigen.preprocess.masks import lesions_on_grid, mask_of_shares
from mrigen.preprocess.sampling import scan_images
from mrigen.volume import Volume, VolumeError, read_volume
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
    assert np.allclose(across, labels.array > 0, atol=1e-5)


def test_a_mask_on_another_grid_is_sampled_on_the_scans() -> None:
    scan = made_up_scan(1)
    fine = Volume(np.zeros((96, 112, 96), np.float32), scan.affine @ np.diag([0.5, 0.5, 0.5, 1.0]))
    lesions = lesions_on_grid(ball(fine, (20.0, -10.0, 15.0), 16.0), scan)
    litres = lesions.sum() * 64 / 1e6
    assert litres == pytest.approx(4 / 3 * np.pi * 16**3 / 1e6, rel=0.1)


def lesion_mm3_of_slabs(labels: Volume, heights: list[float], thickness_mm: float) -> float:
    """Volume of lesions within slabs around `heights`, of labels whose third axis is up: each voxel by its overlap."""
    step = labels.affine[2, 2]
    places = labels.affine[2, 3] + step * np.arange(labels.array.shape[2])
    centres = np.array(heights)[:, None]
    top = np.minimum(centres + thickness_mm / 2, places + step / 2)
    overlap = top - np.maximum(centres - thickness_mm / 2, places - step / 2)
    counts = (labels.array >= 0.5).sum(axis=(0, 1))
    return float((overlap.clip(0.0) @ counts).sum() * abs(np.linalg.det(labels.affine)) / step)


def marked_and_true_mm3(scan: Volume, labels: Volume, data: DataConfig) -> tuple[float, float]:
    """Volume that the masks of a scan's slices mark, and that of the lesions which those slices show."""
    images = scan_images(scan, data, subject="a", lesions=lesions_on_grid(labels, scan))
    marked = sum(int(image.lesions.sum()) for image in images if image.lesions is not None)
    heights = [float(image.affine[2, 3]) for image in images]
    return marked * data.spacing_mm**3, lesion_mm3_of_slabs(labels, heights, data.spacing_mm)


@pytest.mark.parametrize("radius_mm", [3.0, 4.5])
def test_small_lesions_keep_their_volume(radius_mm: float) -> None:
    """Balls of two or three pixels across, on a finer grid than the scan's: they do not vanish."""
    data = DATA.model_copy(update={"slice_step_mm": 3.0})
    within = (2.0 * (np.arange(36) % 12 - 5.5)) ** 2
    distance = within[:, None, None] + within[:, None] + within[:24]
    labels = Volume((distance < radius_mm**2).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    labels.affine[:3, 3] = [-35.0, -35.0, -11.0]
    marked, true = marked_and_true_mm3(made_up_scan(1), labels, data)
    assert true == pytest.approx(8.0 * labels.array.sum())  # the slices show them all
    assert marked == pytest.approx(true, rel=0.1)


def test_every_lesion_has_its_pixels_beside_a_large_one() -> None:
    shares = np.zeros((16, 16), np.float32)
    shares[1:7, 1:7] = 1.0
    shares[1:7, 7] = 0.45
    shares[10:12, 10:12] = 0.3  # 1.2 pixels, none of them half full
    mask, owed = mask_of_shares(shares)
    assert mask[1:7, 1:7].all()
    assert mask[10:12, 10:12].sum() == 1
    assert mask.sum() + owed == pytest.approx(shares.sum(), abs=1e-3)
    assert abs(owed) <= 0.5
    masks = [mask_of_shares(np.full((1, 1), 0.2, np.float32), owed)[0].sum() for owed in (0.0, 0.2, 0.4)]
    assert masks == [0, 0, 1]  # what rounding leaves over goes to the next


@pytest.mark.realdata
@pytest.mark.parametrize("patient", ["patient19", "patient26"])
@pytest.mark.parametrize(("spacing_mm", "image_size"), [(3.0, 64), (1.5, 128)])
def test_real_lesions_keep_their_volume(real_data: Path, patient: str, spacing_mm: float, image_size: int) -> None:
    folder = real_data / "open_ms_data/cross_sectional/MNI" / patient
    (gold,), (flair,) = folder.glob("GOLD*"), folder.glob("FLAIR*")
    data = load_config().data.model_copy(update={"spacing_mm": spacing_mm, "image_size": image_size})
    marked, true = marked_and_true_mm3(read_volume(flair), read_volume(gold), data)
    assert true > 100
    assert marked == pytest.approx(true, rel=0.1)


def test_lesions_of_the_phantom_keep_their_volume() -> None:
    made = make_subject(1, list(Pathology).index(Pathology.SCLEROSIS), 2.0)
    scan, labels = (
        Volume(np.asarray(one, np.float32), made.affine) for one in (made.images[Modality.T1W], made.lesions)
    )
    marked, true = marked_and_true_mm3(scan, labels, load_config().data)
    assert true > 100
    assert marked == pytest.approx(true, rel=0.1)


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
