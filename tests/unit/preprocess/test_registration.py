"""N4 and registration: known fields are taken off, known displacements undone."""

from __future__ import annotations

import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.labels import Modality
from mrigen.phantom import make_subject
from mrigen.preprocess import check_extras, prepare_images
from mrigen.preprocess.bias import correct_bias
from mrigen.preprocess.foreground import Mask, find_foreground
from mrigen.preprocess.registration import implausible, register
from mrigen.preprocess.stripper import strip_t1w
from mrigen.preprocess.template import BRAIN_CENTRE_MM, load_template
from mrigen.volume import Volume, VolumeError, read_volume

pytest.importorskip("SimpleITK")

Point = tuple[float, float, float]


def brain(*, inverted: bool = False) -> Volume:
    """A brain much like the template's, in another contrast if `inverted`, with some noise."""
    t1, mask = load_template(2).t1, load_template(2).brain
    noise = np.random.default_rng(0).normal(0, 0.02, t1.array.shape)
    contrast = 1.6 - t1.array if inverted else t1.array**2
    return Volume(np.where(mask, 100 * np.maximum(contrast + noise, 0.01), 0).astype(np.float32), t1.affine)


def moved(scan: Volume, degrees: tuple[float, float, float], shift_mm: Point, scale: float = 1.0) -> Volume:
    motion = np.eye(4)
    motion[:3, :3] = scale * Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift_mm
    return Volume(scan.array, motion @ scan.affine)


def errors(found: Volume, right: Volume) -> tuple[float, float, float]:
    """By how many degrees, mm at the brain's centre, and parts of its size a scan lies off."""
    error = found.affine @ np.linalg.inv(right.affine)
    left, scales, other = np.linalg.svd(error[:3, :3])
    off = error @ [*BRAIN_CENTRE_MM, 1.0] - [*BRAIN_CENTRE_MM, 1.0]
    turn = Rotation.from_matrix(left @ other).magnitude()
    return float(np.degrees(turn)), float(np.linalg.norm(off[:3])), float(np.abs(scales - 1).max())


def assert_close(found: Volume, right: Volume) -> None:
    degrees, mm, parts = errors(found, right)
    assert (degrees < 2, mm < 2, parts < 0.03) == (True, True, True), f"{degrees:.2f} degrees, {mm:.2f} mm, {parts:.3f}"


@pytest.mark.parametrize(("kind", "inverted", "scale"), [("rigid", True, 1.0), ("affine", False, 0.88)])
def test_a_known_displacement_of_a_brain_is_undone(kind: Any, inverted: bool, scale: float) -> None:
    scan = brain(inverted=inverted)
    away = moved(scan, (17.0, -9.0, 12.0), (22.0, -18.0, 25.0), scale)
    inside = find_foreground(away).mask
    back, overlap = register(away, inside, kind)
    assert_close(back, scan)
    assert back.array is away.array
    assert overlap > 0.97
    if kind == "rigid":  # once will do
        np.testing.assert_array_equal(register(away, inside, kind)[0].affine, back.affine)


@lru_cache(maxsize=1)
def phantom_head() -> tuple[Volume, Mask]:
    """A phantom's brain within fluid, skull and scalp, in T2w, and where the brain is."""
    made = make_subject(3, 2, 4.0)
    inside = np.pad(made.brain > 0, 6)
    fluid, skull, scalp = (ndimage.binary_dilation(inside, iterations=steps) for steps in (1, 3, 5))
    array = np.where(fluid, 900, np.where(skull, 40, np.where(scalp, 700, 0)))
    array = np.where(inside, np.pad(made.images[Modality.T2W], 6), array)
    noise = np.abs(np.random.default_rng(0).normal(0, 10, array.shape))
    affine = made.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [6, 6, 6]
    return Volume((array + noise).astype(np.float32), affine), inside


def test_a_known_displacement_of_a_head_is_undone_by_its_brain() -> None:
    head, inside = phantom_head()
    assert not find_foreground(head).stripped
    here, overlap = register(head, inside, "affine")
    assert overlap > 0.9
    assert_close(register(moved(head, (-14.0, 8.0, -11.0), (-30.0, 10.0, -20.0), 1.1), inside, "affine")[0], here)


AWAY: Any = (15.0, -8.0, 10.0), (12.0, -20.0, 15.0), 1.08


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("contrast", ["T1", "T1POST", "T2", "FLAIR"])
@pytest.mark.parametrize("patient", ["patient19", "patient26"])
def test_a_known_displacement_of_a_real_brain_is_undone(real_data: Path, patient: str, contrast: str) -> None:
    (file,) = (real_data / "open_ms_data/cross_sectional/MNI" / patient).glob(f"{contrast}_N4*")
    scan = read_volume(file)
    inside = find_foreground(scan).mask
    here, _ = register(scan, inside, "affine")
    assert_close(register(moved(scan, *AWAY), inside, "affine")[0], here)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("subject", ["IXI012", "IXI013", "IXI014", "IXI015", "IXI033", "IXI034", "patient12"])
def test_a_real_head_is_stripped_and_a_known_displacement_is_undone(real_data: Path, subject: str) -> None:
    pytest.importorskip("deepbet")
    (file,) = [*(real_data / "ixi_2mm").glob(f"{subject}*"), *real_data.rglob(f"raw/{subject}/study1_T1W*")]
    scan = read_volume(file)
    inside = strip_t1w(scan)
    here, _ = register(scan, inside, "affine")
    assert_close(register(moved(scan, *AWAY), inside, "affine")[0], here)


def test_registered_scans_show_the_same_slices() -> None:
    data = DataConfig(registration="rigid", slice_range_mm=(0, 12), slice_step_mm=12)
    scan = brain()
    away = moved(scan, (7.0, 0.0, 7.0), (9.0, 5.0, -6.0))
    one, other = (prepare_images(s, data, subject="a") for s in (scan, away))
    assert np.abs(one.images[0].image - other.images[0].image).mean() < 0.05
    np.testing.assert_allclose(one.images[0].affine, other.images[0].affine)
    assert one.picture is not None
    picture = np.asarray(Image.open(io.BytesIO(one.picture)).convert("RGB")).astype(int)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 120)
    assert 300 < red.sum() < 1500  # the outline


def ball() -> Volume:
    """As large as a brain, without a front or a top."""
    places = np.stack(np.meshgrid(*[np.arange(-86.0, 87.0, 4.0)] * 3, indexing="ij"))
    noise = np.random.default_rng(0).normal(100, 10, places.shape[1:])
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -86
    return Volume(np.where((places**2).sum(axis=0) < 74**2, noise, 0).astype(np.float32), affine)


def plank() -> Volume:
    array = np.zeros((60, 60, 60), np.float32)
    array[20:40, 2:58, 25:35] = np.random.default_rng(0).normal(100, 10, (20, 56, 10))
    return Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))


@pytest.mark.parametrize("scan", [ball(), plank()])
def test_a_scan_of_something_else_is_not_registered(scan: Volume) -> None:
    with pytest.raises(VolumeError, match=r"^not registered to the template: ") as error:
        register(scan, scan.array > 0, "rigid")
    assert error.value.fault == "registration"


@pytest.mark.parametrize(
    ("scales", "degrees", "overlap", "apart", "words"),
    [
        ((1.1, 1.0, 1.2), 40, 0.9, 3.0, None),
        ((1.1, 1.0, 1.2), 40, 0.9, 6.0, "two starts ended 6 mm apart, 4 are allowed"),
        ((1.1, 0.7, 0.9), 10, 0.9, 1.0, "its axes would be scaled by 0.70 to 1.10, 0.8 to 1.45 are allowed"),
        ((0.9, 1.0, 1.4), 10, 0.9, 1.0, "one axis would be stretched 1.56 times as much as another, 1.4 are allowed"),
        ((1.0, 1.0, 1.0), 60, 0.9, 1.0, "it would be turned by 60 degrees, 45 are allowed"),
        ((1.0, 1.0, 1.0), 10, 0.8, 1.0, "the brains overlap by 80%, 88% are needed"),
    ],
)
def test_what_no_head_has_is_refused(scales: Point, degrees: float, overlap: float, apart: float, words: str) -> None:
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix() @ np.diag(scales)
    assert implausible(found, overlap, apart) == words


def test_a_known_bias_field_is_taken_off() -> None:
    scan = brain()
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in scan.array.shape), indexing="ij")
    field = np.exp(0.35 * x - 0.25 * y**2).astype(np.float32)
    mask = find_foreground(scan).mask
    white = load_template(2).t1.array > 0.9

    def unevenness(volume: Volume) -> float:
        ratio = volume.array[white] / scan.array[white]
        return float(ratio.std() / ratio.mean())

    biased = Volume(scan.array * field, scan.affine)
    assert unevenness(correct_bias(biased, mask)) < 0.5 * unevenness(biased)


def test_n4_needs_positive_intensities() -> None:
    scan = brain()
    with pytest.raises(VolumeError, match="N4 needs positive intensities"):
        correct_bias(Volume(-scan.array, scan.affine), find_foreground(scan).mask)


@pytest.mark.parametrize("settings", [{"bias_correction": "n4"}, {"registration": "affine"}])
def test_a_missing_simpleitk_is_told_early(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig.model_validate(settings)
    check_extras(data)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_extras(DataConfig())
    with pytest.raises(InputError, match=r"pip install 'mrigen\[registration\]'"):
        check_extras(data)
