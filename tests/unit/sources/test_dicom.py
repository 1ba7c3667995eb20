"""DICOM series: SimpleITK writes what is read, and the NIfTI file of the same volume is the oracle."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mrigen.errors import InputError
from mrigen.sources.dicom import read_series, read_series_header
from mrigen.volume import VolumeError, read_volume

sitk = pytest.importorskip("SimpleITK")

from tests.dicom_series import write_series  # noqa: E402

SHAPE = (10, 12, 9)


def array_of(shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)


def oblique(axes: list[list[float]]) -> np.ndarray[Any, Any]:
    """A turned grid of 0.9 x 1.1 x 3 mm whose axes are near those given."""
    a, b = np.deg2rad([14.0, -9.0])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array(axes) @ np.diag([0.9, 1.1, 3.0])
    affine[:3, 3] = [31.5, -42.25, 17.0]
    return affine


AXES = {
    "axial, LPS": [[-1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]],
    "sagittal, PIL": [[0, 0, -1.0], [-1.0, 0, 0], [0, -1.0, 0]],
    "coronal, LIP": [[-1.0, 0, 0], [0, 0, -1.0], [0, -1.0, 0]],
}


@pytest.mark.parametrize("axes", AXES)
def test_a_series_is_the_volume_that_its_nifti_file_is(tmp_path: Path, axes: str) -> None:
    array, affine = array_of(), oblique(AXES[axes])
    if np.linalg.det(affine) < 0:  # DICOM's slices are put in order along the normal of their rows and columns
        affine[:3, 2] *= -1
    write_series(tmp_path / "series", array, affine)
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "same.nii")
    found, same = read_series(tmp_path / "series"), read_volume(tmp_path / "same.nii")
    np.testing.assert_allclose(found.affine, same.affine, atol=1e-4)
    np.testing.assert_array_equal(found.array, same.array)
    assert (found.array.dtype, found.affine.dtype) == (np.float32, np.float64)
    header = read_series_header(tmp_path / "series")
    assert header.shape == SHAPE
    np.testing.assert_allclose(header.spacing_mm, (0.9, 1.1, 3.0), rtol=1e-5)
    assert header.orientation[:2] == axes[-3:-1]


def test_values_are_scaled_as_the_series_tells(tmp_path: Path) -> None:
    write_series(tmp_path, array_of() * 2, np.diag([1.0, 1.0, 1.0, 1.0]), slope=2.0)
    assert sorted(set(np.unique(read_series(tmp_path).array))) == sorted(set(np.unique(array_of() * 2.0)))


def fault_of(folder: Path, **limits: int) -> tuple[str, str]:
    with pytest.raises(VolumeError) as caught:
        read_series(folder, **limits)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    return caught.value.fault, message


@pytest.fixture(autouse=True)
def _same_locale() -> Iterator[None]:
    """To write compressed DICOM sets the locale to "C" for the whole process."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "series", array_of(), oblique(AXES["axial, LPS"]))


def test_one_series_is_expected_and_other_files_do_not_matter(series: list[Path]) -> None:
    folder = series[0].parent
    (folder / "notes.txt").write_text("hello")
    assert read_series(folder).array.shape == SHAPE
    write_series(folder / "more", array_of(), np.eye(4), uid="1.2.3.4")
    for path in (folder / "more").iterdir():
        path.rename(folder / f"more-{path.name}")
    fault, message = fault_of(folder)
    assert fault == "dimensions"
    assert "2 DICOM series, a folder for each is needed: 1.2.3.4, 1.2.826" in message


def test_a_missing_slice_is_noticed(series: list[Path]) -> None:
    series[4].unlink()
    fault, message = fault_of(series[0].parent)
    assert fault == "geometry"
    assert "not evenly spaced (steps of 3, 6 mm): is one missing?" in message


def test_slices_must_share_size_and_direction(tmp_path: Path, series: list[Path]) -> None:
    folder = series[0].parent
    kept = series[4].read_bytes()
    write_series(tmp_path / "other", array_of((16, 12, 9)), oblique(AXES["axial, LPS"]))[4].rename(series[4])
    assert fault_of(folder) == ("dimensions", f"{folder}: slices of different size: 10 x 12 x 1, 16 x 12 x 1")
    turned = oblique(AXES["axial, LPS"])
    turned[:3, 0] *= 1.5
    write_series(tmp_path / "turned", array_of(), turned)[4].rename(series[4])
    assert fault_of(folder) == ("geometry", f"{folder}: slices of different direction or spacing")
    series[4].write_bytes(kept)
    assert read_series(folder).array.shape == SHAPE


def test_the_limits_hold(series: list[Path]) -> None:
    folder = series[0].parent
    stored = sum(path.stat().st_size for path in series)
    assert fault_of(folder, max_bytes=stored - 1) == (
        "size",
        f"{folder}: {stored / 2**20:.4g} MB in storage, over the limit of {(stored - 1) / 2**20:.4g} MB",
    )
    assert fault_of(folder, min_voxels=10)[0] == "dimensions"
    assert read_series(folder, max_bytes=stored).array.shape == SHAPE


def test_the_limit_is_checked_against_the_voxels_before_they_are_read(tmp_path: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.UseCompressionOn()  # JPEG 2000: a small file of many voxels
    for path in write_series(tmp_path / "series", np.zeros((512, 512, 8), np.int16), np.eye(4)):
        image = sitk.ReadImage(str(path))
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path))
        writer.Execute(image)
    assert sum(path.stat().st_size for path in (tmp_path / "series").iterdir()) < 1 << 20
    fault, message = fault_of(tmp_path / "series", max_bytes=1 << 20)
    assert fault == "size"
    assert "8 MB of voxels by its header" in message


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98])
@pytest.mark.parametrize("place", [0, 4])
def test_a_truncated_slice_is_told(
    series: list[Path], place: int, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = series[place].read_bytes()
    series[place].write_bytes(content[: int(share * len(content))])
    assert fault_of(series[0].parent) == ("truncated", f"{series[place]}: damaged, or no image")
    assert capfd.readouterr().err == ""


def test_wrong_bytes_crash_nothing(series: list[Path]) -> None:
    whole = series[0].read_bytes()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        for place in rng.integers(120, 900, 4):
            content[place] = rng.integers(256)
        series[0].write_bytes(content)
        told = str(series[0].parent)
        try:
            assert np.isfinite(read_series(series[0].parent, max_bytes=1 << 22).array).all()
        except VolumeError as error:
            told = str(error)
        assert told.startswith(str(series[0].parent))
        assert "\n" not in told


def test_constant_and_coloured_series_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "zeros", np.zeros(SHAPE, np.int16), np.eye(4))
    assert fault_of(tmp_path / "zeros") == ("voxels", f"{tmp_path / 'zeros'}: every voxel is 0")
    colours = sitk.GetImageFromArray(np.zeros((12, 12, 3), np.uint8), isVector=True)
    (tmp_path / "colours").mkdir()
    sitk.WriteImage(colours, str(tmp_path / "colours" / "a.dcm"))
    fault, message = fault_of(tmp_path / "colours")
    assert fault == "type"
    assert "one real value each" in message


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.dcm").write_text("hello" * 100)
    assert fault_of(tmp_path / "text") == ("format", f"{tmp_path / 'text'}: no DICOM series in this folder")
    (tmp_path / "empty").mkdir()
    assert fault_of(tmp_path / "empty")[0] == "format"
    assert fault_of(tmp_path / "nothing") == ("missing", f"{tmp_path / 'nothing'}: no such folder")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "a.dcm")
    fault, message = fault_of(tmp_path / "fifo")
    assert fault == "missing"
    assert "not a regular file" in message


def test_without_simpleitk_the_remedy_is_told(series: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"pip install 'mrigen\[dicom\]'"):
        read_series(series[0].parent)
