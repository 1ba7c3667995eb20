"""Heads in other contrasts follow the T1w of the same person, and of nobody else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mrigen.config import DataConfig
from mrigen.labels import Modality
from mrigen.phantom import make_subject
from mrigen.preprocess import brain_mask, following
from mrigen.preprocess.brain_mask import find_brain
from mrigen.preprocess.following import T1wHead, follow
from mrigen.preprocess.foreground import Mask
from mrigen.preprocess.stripper import strip_t1w
from mrigen.volume import Volume, VolumeError, read_volume
from tests.fake_scans import made_up_scan

pytest.importorskip("SimpleITK")

FLUID = {Modality.T1W: 0.3, Modality.T1CE: 0.3, Modality.T2W: 1.3, Modality.FLAIR: 0.3, Modality.PD: 1.0}
Vector = tuple[float, float, float]
AWAY: tuple[Vector, Vector] = (14.0, -8.0, 10.0), (12.0, -20.0, 15.0)
"""Degrees and mm."""
NEAR: tuple[Vector, Vector] = (6.0, -5.0, 7.0), (6.0, -10.0, 8.0)


@lru_cache(maxsize=4)
def phantom_head(index: int, modality: Modality) -> tuple[Volume, Mask]:
    """A phantom's brain within fluid, skull and scalp, and where the brain is."""
    made = make_subject(3, index, 4.0)
    inside = np.pad(made.brain > 0, 6)
    fluid, skull, scalp = (ndimage.binary_dilation(inside, iterations=steps) for steps in (1, 3, 5))
    bright = float(np.percentile(made.images[modality], 99))
    around = np.where(fluid, FLUID[modality], np.where(skull, 0.1, np.where(scalp, 1.2, 0)))
    array = np.where(inside, np.pad(made.images[modality], 6), bright * around)
    noise = np.abs(np.random.default_rng(0).normal(0, 0.02 * bright, array.shape))
    affine = made.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [6, 6, 6]
    return Volume((array + noise).astype(np.float32), affine), inside


def t1w_head(index: int = 2) -> T1wHead:
    return T1wHead("t1.nii", *phantom_head(index, Modality.T1W))


def moved(scan: Volume, degrees: Vector, shift_mm: Vector) -> Volume:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift_mm
    return Volume(scan.array, motion @ scan.affine)


def dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def refused(scan: Volume, head: T1wHead) -> str:
    with pytest.raises(VolumeError) as error:
        follow(scan, head)
    assert error.value.fault == "mask"
    return str(error.value)


@pytest.mark.parametrize(
    ("modality", "motion"),
    [
        (Modality.FLAIR, AWAY),
        # Moved as far, the phantom's T2w is refused: its scalp is as bright as its fluid.
        pytest.param(Modality.T2W, NEAR, marks=pytest.mark.slow),
        pytest.param(Modality.T1CE, AWAY, marks=pytest.mark.slow),
        pytest.param(Modality.PD, AWAY, marks=pytest.mark.slow),
    ],
)
def test_a_head_that_moved_gets_the_brain_of_its_t1w(modality: Modality, motion: tuple[Vector, Vector]) -> None:
    scan, truth = phantom_head(2, modality)
    assert dice(follow(moved(scan, *motion), t1w_head()), truth) > 0.95


def test_on_the_t1ws_grid_the_mask_is_taken_as_it_is_where_nothing_moved() -> None:
    scan, truth = phantom_head(2, Modality.T2W)
    np.testing.assert_array_equal(follow(scan, t1w_head()), truth)


@pytest.mark.slow
def test_on_the_t1ws_grid_the_mask_follows_what_moved() -> None:
    scan, truth = phantom_head(2, Modality.T2W)
    rolled = follow(Volume(np.roll(scan.array, 3, 2), scan.affine), t1w_head())
    assert dice(rolled, np.roll(truth, 3, 2)) > 0.95


def test_another_persons_scan_is_refused() -> None:
    told = refused(phantom_head(5, Modality.T2W)[0], t1w_head())
    assert told.startswith("not the brain of its T1w t1.nii: shares ")
    assert told.endswith("% of its fine structure with it, 12% are needed")


def test_starts_that_end_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "align", lambda *_, **__: (np.eye(4), 7.0))
    told = "not found on its T1w t1.nii: two starts ended 7 mm apart, 2 are allowed"
    assert refused(phantom_head(2, Modality.T2W)[0], t1w_head()) == told


@pytest.mark.slow
def test_a_head_upside_down_is_refused() -> None:
    scan, _ = phantom_head(2, Modality.T2W)
    told = refused(Volume(scan.array[:, ::-1, ::-1].copy(), scan.affine), t1w_head())
    assert told.startswith(("not found on its T1w t1.nii: two starts", "not the brain of its T1w t1.nii: shares"))


def test_noise_is_refused() -> None:
    scan, _ = phantom_head(2, Modality.T2W)
    noise = Volume(np.random.default_rng(0).random(scan.array.shape, np.float32), scan.affine)
    assert refused(noise, t1w_head()).startswith("not found on its T1w t1.nii: noise, not a scan: ")


HEAD = made_up_scan(1, stripped=False)
STRIP = DataConfig(head="strip")
WAYS = "name one in a manifest, set data.strip_command, or register the scan to MNI space"


def no_brain() -> T1wHead:
    raise VolumeError("deepbet finds no brain", "mask")


def test_who_has_no_t1w_to_follow_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VolumeError) as error:
        find_brain(HEAD, STRIP, modality=Modality.FLAIR, t1w=no_brain)
    assert str(error.value) == f"no brain mask and none of its T1w (deepbet finds no brain): {WAYS}"
    assert error.value.fault == "mask"
    monkeypatch.setattr(brain_mask, "has_simpleitk", lambda: False)
    with pytest.raises(VolumeError) as error:
        find_brain(HEAD, STRIP, modality=Modality.FLAIR, t1w=no_brain)
    assert str(error.value) == f"no brain mask: pip install 'mrigen[strip]', {WAYS}"


def test_a_brain_that_is_told_otherwise_follows_nobody() -> None:
    mask = Volume((made_up_scan(1).array > 0).astype(np.float32), HEAD.affine)
    np.testing.assert_array_equal(find_brain(HEAD, STRIP, mask=mask, t1w=no_brain), mask.array > 0)
    assert find_brain(made_up_scan(1), STRIP, t1w=no_brain).any()


@lru_cache(maxsize=2)
def real_head(file: Path) -> T1wHead:
    pytest.importorskip("deepbet")
    scan = read_volume(file)
    return T1wHead("t1.nii", scan, strip_t1w(scan))


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("contrast", ["T2W", "FLAIR"])
def test_a_real_patient_follows_and_strangers_do_not(real_data: Path, contrast: str) -> None:
    (folder,) = real_data.rglob("raw/patient12")
    (stranger,) = (real_data / "ixi_2mm").glob("IXI033*")
    scan, head = read_volume(folder / f"study1_{contrast}.nii.gz"), real_head(folder / "study1_T1W.nii.gz")
    assert dice(follow(moved(scan, *AWAY), head), follow(scan, head)) > 0.95
    assert "T1w t1.nii" in refused(scan, real_head(stranger))
