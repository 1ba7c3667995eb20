"""N4 and registration: known fields are taken off, known displacements undone."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.preprocess import check_extras, prepare_images
from mrigen.preprocess.foreground import find_foreground
from mrigen.preprocess.registration import correct_bias, register
from mrigen.preprocess.template import load_template
from mrigen.volume import Volume, VolumeError

pytest.importorskip("SimpleITK")


def brain(*, inverted: bool = False) -> Volume:
    """A brain much like the template's, in another contrast if `inverted`, with some noise."""
    t1, mask = load_template(2).t1, load_template(2).brain
    noise = np.random.default_rng(0).normal(0, 0.02, t1.array.shape)
    contrast = 1.6 - t1.array if inverted else t1.array**2
    return Volume(np.where(mask, 100 * np.maximum(contrast + noise, 0.01), 0).astype(np.float32), t1.affine)


def turned(scan: Volume, degrees: float, shift_mm: tuple[float, float, float]) -> Volume:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    motion = np.eye(4)
    motion[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    motion[:3, 3] = shift_mm
    return Volume(scan.array, motion @ scan.affine)


def largest_error_mm(affine: np.ndarray, right: np.ndarray) -> float:
    """How far apart two affines put the corners of the brain's box."""
    corners = np.array([[x, y, z, 1] for x in (20, 80) for y in (25, 100) for z in (20, 85)]).T
    return float(np.linalg.norm(((affine - right) @ corners)[:3], axis=0).max())


@pytest.mark.parametrize(("kind", "inverted"), [("rigid", True), ("affine", False)])
def test_a_known_displacement_is_undone(kind: str, inverted: bool) -> None:
    scan = brain(inverted=inverted)
    away = turned(scan, 9.0, (12.0, -8.0, 15.0))
    assert largest_error_mm(away.affine, scan.affine) > 15
    back, foreground = register(away, find_foreground(away), kind)  # type: ignore[arg-type]
    assert largest_error_mm(back.affine, scan.affine) < 1.5
    assert back.array is away.array
    assert foreground.stripped
    if inverted:  # once will do
        again, _ = register(away, find_foreground(away), kind)  # type: ignore[arg-type]
        np.testing.assert_array_equal(again.affine, back.affine)


def test_registered_scans_show_the_same_slices() -> None:
    data = DataConfig(registration="rigid", slice_range_mm=(0, 12), slice_step_mm=12)
    scan = brain()
    one, other = (prepare_images(s, data, subject="a").images[0] for s in (scan, turned(scan, 7.0, (9.0, 5.0, -6.0))))
    assert np.abs(one.image - other.image).mean() < 0.05
    np.testing.assert_allclose(one.affine, other.affine)


def test_a_scan_of_something_else_is_not_registered() -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((60, 60, 60), np.float32)
    array[20:40, 2:58, 25:35] = rng.normal(100, 10, (20, 56, 10))
    plank = Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(VolumeError, match="not registered to the template") as error:
        register(plank, find_foreground(plank), "rigid")
    assert error.value.fault == "registration"


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
