"""NIfTI in and out: nibabel writes the files that are read, and reads those that are written."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrigen.errors import InputError
from mrigen.volume import SYNTHETIC_DESCRIPTION, Volume, VolumeError, nifti_bytes, read_volume

SHAPE = (9, 10, 11)
HEADER_1, HEADER_2 = 348, 540


def scan_array(shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def oblique_affine() -> np.ndarray[Any, Any]:
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 2.0, 3.0])
    affine[:3, 3] = [-10, 20, -30]
    return affine


def save(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] | None = None, kind: Any = None) -> Path:
    image = (kind or nibabel.Nifti1Image)(array, np.eye(4) if affine is None else affine)
    nibabel.save(image, path)
    return path


def patched(path: Path, **fields: Any) -> Path:
    """Write fields straight into the header of a saved `.nii`, past nibabel's checks."""
    raw = bytearray(path.read_bytes())
    header = np.ndarray((), nibabel.nifti1.header_dtype, raw)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(raw)
    return path


def fault_of(path: Path, **limits: Any) -> tuple[str, str]:
    with pytest.raises(VolumeError) as caught:
        read_volume(path, **limits)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return caught.value.fault, message


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, np.dtype(">i2")])
def test_reads_what_nibabel_writes(tmp_path: Path, suffix: str, kind: Any, dtype: Any) -> None:
    array = scan_array(dtype=dtype)
    affine = np.diag([1.5, 2.0, 2.5, 1.0])
    affine[:3, 3] = [-3, 4, 5]
    volume = read_volume(save(tmp_path / f"a{suffix}", array, affine, kind))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine)
    assert (volume.array.dtype, volume.affine.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(volume.spacing_mm, (1.5, 2.0, 2.5))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "IAL", "SRA"])
def test_orientation_is_that_of_nibabel(tmp_path: Path, codes: str) -> None:
    array = scan_array()
    affine = oblique_affine()
    turned = nibabel.Nifti1Image(array, affine).as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt(tuple(codes))
        )
    )
    nibabel.save(turned, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


def test_the_sform_goes_before_the_qform(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(scan_array(), np.eye(4))
    image.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), code=4)
    image.set_qform(np.diag([3.0, 3.0, 3.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").spacing_mm == (2.0, 2.0, 2.0)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").spacing_mm == (3.0, 3.0, 3.0)


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path) -> None:
    array = scan_array((*SHAPE, 1, 1))
    assert read_volume(save(tmp_path / "a.nii", array)).array.shape == SHAPE


@pytest.mark.parametrize(("slope", "expected"), [(2.0, 7.0), (0.0, 3.0)])
def test_values_are_scaled_and_a_slope_of_zero_means_not(tmp_path: Path, slope: float, expected: float) -> None:
    array = np.zeros(SHAPE, np.int16)
    array[4] = 3
    path = patched(save(tmp_path / "a.nii", array), scl_slope=slope, scl_inter=1.0)
    assert read_volume(path).array.max() == expected


def test_an_uncompressed_name_may_hold_compressed_data(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii.gz", scan_array())
    plain.rename(tmp_path / "b.nii")
    assert read_volume(tmp_path / "b.nii").array.shape == SHAPE


BAD_HEADERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "slope NaN": ({"scl_slope": np.nan}, "voxels", "scl_slope"),
    "slope inf": ({"scl_slope": np.inf}, "voxels", "scl_slope"),
    "intercept NaN": ({"scl_slope": 1.0, "scl_inter": np.nan}, "voxels", "scl_inter"),
    "no orientation": ({"sform_code": 0, "qform_code": 0}, "geometry", "no orientation"),
    "zero pixdim": ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}, "geometry", "pixdim"),
    "pixdim NaN": ({"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, "geometry", "pixdim"),
    "singular sform": ({"srow_x": [1, 0, 0, 0], "srow_y": [1, 0, 0, 0]}, "geometry", "sform"),
    "parallel axes": ({"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0]}, "geometry", "singular"),
    "sform NaN": ({"srow_x": [np.nan, 0, 0, 0]}, "geometry", "non-finite"),
    "huge voxels": ({"srow_z": [0, 0, 25, 0]}, "geometry", "25 mm"),
    "tiny voxels": ({"srow_z": [0, 0, 0.001, 0]}, "geometry", "0.001 mm"),
    "bad qform": ({"sform_code": 0, "quatern_b": 5.0, "quatern_c": 5.0}, "geometry", "qform"),
    "vox_offset": ({"vox_offset": 0}, "format", "vox_offset"),
    "vox_offset NaN": ({"vox_offset": np.nan}, "format", "vox_offset"),
    "no dimensions": ({"dim": [0] * 8}, "dimensions", "0 dimensions"),
    "nine dimensions": ({"dim": [9, 9, 10, 11, 1, 1, 1, 1]}, "format", "header"),
    "negative dimension": ({"dim": [3, -9, 10, 11, 1, 1, 1, 1]}, "dimensions", "-9"),
    "empty dimension": ({"dim": [3, 0, 10, 11, 1, 1, 1, 1]}, "dimensions", "at least"),
    "flat": ({"dim": [3, 9, 10, 1, 1, 1, 1, 1]}, "dimensions", "at least"),
    "two dimensions": ({"dim": [2, 9, 10, 1, 1, 1, 1, 1]}, "dimensions", "2-D"),
    "colour": ({"datatype": 128, "bitpix": 24}, "type", "colour"),
    "complex": ({"datatype": 32, "bitpix": 64}, "type", "complex"),
    "unknown type": ({"datatype": 7777}, "format", "header"),
    "more claimed than there is": ({"dim": [3, 90, 10, 11, 1, 1, 1, 1]}, "truncated", "truncated"),
    "bomb": ({"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}, "size", "limit"),
    "pair": ({"magic": b"ni1"}, "format", ".hdr/.img"),
    "no magic": ({"magic": b"abc"}, "format", "not a NIfTI"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_headers_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    fields, fault, words = BAD_HEADERS[name]
    found, message = fault_of(patched(save(tmp_path / "a.nii", scan_array()), **fields))
    assert found == fault
    assert words in message


def test_a_series_is_refused(tmp_path: Path) -> None:
    fault, message = fault_of(save(tmp_path / "a.nii", scan_array((*SHAPE, 2))))
    assert fault == "dimensions"
    assert "4-D" in message


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_one_bad_voxel_is_enough(tmp_path: Path, value: float, words: str) -> None:
    array = scan_array()
    array[3, 4, 5] = value
    fault, message = fault_of(save(tmp_path / "a.nii.gz", array))
    assert fault == "voxels"
    assert words in message


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_is_refused(tmp_path: Path, value: int) -> None:
    fault, message = fault_of(save(tmp_path / "a.nii.gz", np.full(SHAPE, value, np.int16)))
    assert fault == "voxels"
    assert f"every voxel is {value}" in message


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    array = scan_array(dtype=np.float64)
    array[0, 0, 0] = 1e300
    assert fault_of(save(tmp_path / "a.nii", array))[0] == "voxels"


def write_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None  # type: ignore[func-returns-value]


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "missing"),
    "folder": (lambda path: path.mkdir(), "missing"),
    "fifo": (lambda path: os.mkfifo(path), "missing"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "missing"),
    "empty": (write_bytes(b""), "truncated"),
    "text": (write_bytes(b"hello\n" * 100), "format"),
    "not gzip": (lambda path: save(path.with_suffix(""), scan_array()).rename(path), "format"),
    "gzip of nothing": (write_bytes(gzip.compress(b"")), "format"),
    "gzip of text": (write_bytes(gzip.compress(b"hello\n" * 100)), "format"),
    "gzip magic alone": (write_bytes(b"\x1f\x8b"), "truncated"),
    "gzip magic and junk": (write_bytes(b"\x1f\x8b" + b"\x99" * 600), "truncated"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_nifti_file_is_refused(tmp_path: Path, name: str) -> None:
    make, fault = BAD_FILES[name]
    path = tmp_path / "scan.nii.gz"
    make(path)
    assert fault_of(path)[0] == fault


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = save(tmp_path / f"a{suffix}", scan_array((40, 40, 40)))
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * share)])
        assert fault_of(path)[0] in ("truncated", "format")


def test_a_flipped_bit_in_compressed_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    image = nibabel.Nifti1Image(scan_array(), np.eye(4))
    raw = bytearray(gzip.compress(image.to_bytes(), compresslevel=0))  # stored: the flip stays a valid stream
    raw[2000] ^= 1
    path.write_bytes(raw)
    assert fault_of(path)[0] == "truncated"


def test_a_small_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    image = nibabel.Nifti1Image(scan_array(), np.eye(4))
    path.write_bytes(gzip.compress(image.to_bytes() + bytes(1 << 26)))
    assert "more data" in fault_of(path)[1]


def test_the_limits_are_the_callers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", scan_array())
    assert fault_of(path, max_bytes=1000)[0] == "size"
    assert fault_of(path, min_voxels=10)[0] == "dimensions"
    assert read_volume(path, max_bytes=9 * 10 * 11 * 4).array.shape == SHAPE


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, HEADER_1 + 20), value=st.integers(0, 255))
def test_any_byte_of_the_header_may_be_wrong(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    raw = bytearray(nibabel.Nifti1Image(scan_array(), np.eye(4)).to_bytes())
    raw[position] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.nii"
    path.write_bytes(raw)
    try:
        volume = read_volume(path, max_bytes=1 << 24)
    except VolumeError:
        return
    assert np.isfinite(volume.array).all()
    assert np.isfinite(np.linalg.inv(volume.affine)).all()


def test_the_error_is_bad_input_and_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(VolumeError("a.nii: broken", "voxels")))  # noqa: S301
    assert isinstance(error, InputError)
    assert (str(error), error.fault) == ("a.nii: broken", "voxels")


def test_what_is_written_is_what_nibabel_reads(tmp_path: Path) -> None:
    volume = Volume(scan_array(), oblique_affine())
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(volume, description="synthetic, for a test"))
    image = nibabel.load(path)
    np.testing.assert_array_equal(image.get_fdata(), volume.array)
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-6)
    for affine, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 2
        np.testing.assert_allclose(affine, volume.affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["descrip"].item() == b"synthetic, for a test"
    assert (image.header["cal_min"], image.header["cal_max"]) == (volume.array.min(), volume.array.max())
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, volume.array)


def test_a_single_slice_can_be_written_and_read_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(Volume(scan_array((16, 16, 1)), np.eye(4)), description="x"))
    assert nibabel.load(path).shape == (16, 16, 1)
    assert read_volume(path, min_voxels=1).array.shape == (16, 16, 1)


def test_the_same_volume_gives_the_same_bytes() -> None:
    volume = Volume(scan_array(), oblique_affine())
    content = nifti_bytes(volume, description="x")
    assert content == nifti_bytes(volume, description="x")
    assert content[3:8] == bytes(5)  # gzip's header (RFC 1952): no file name, no time


def test_whole_numbers_are_rounded_and_must_fit(tmp_path: Path) -> None:
    array = np.zeros(SHAPE, np.float32)
    array[1], array[2] = 2.6, 255
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(Volume(array, np.eye(4)), description="x", dtype=np.uint8))
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    assert image.get_fdata()[1, 0, 0] == 3
    with pytest.raises(ValueError, match="do not fit uint8"):
        nifti_bytes(Volume(array - 1, np.eye(4)), description="x", dtype=np.uint8)


def test_a_description_must_fit_its_field() -> None:
    volume = Volume(scan_array(), np.eye(4))
    assert len(SYNTHETIC_DESCRIPTION) <= 79
    assert SYNTHETIC_DESCRIPTION.startswith("synthetic")
    with pytest.raises(ValueError, match="79"):
        nifti_bytes(volume, description="x" * 80)
