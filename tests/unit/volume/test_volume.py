"""Scans in: what nibabel writes and real files hold is read as nibabel reads it."""

from __future__ import annotations

import gzip
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mrigen.errors import InputError
from mrigen.volume import ScanHeader, VolumeError, read_header, read_volume
from tests.malformed import nifti, packed

SHAPE = (9, 10, 11)


def scan_array(shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def oblique_affine() -> np.ndarray[Any, Any]:
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 2.0, 3.0])
    affine[:3, 3] = [-10, 20, -30]
    return affine


def save(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] | None = None, kind: Any = None) -> Path:
    image = (kind or nibabel.Nifti1Image)(array, np.eye(4) if affine is None else affine, dtype=array.dtype)
    nibabel.save(image, path)
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def fault_of(path: Path, **options: Any) -> tuple[str, str]:
    with pytest.raises(VolumeError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return caught.value.fault, message


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, np.dtype(">i2"), np.int64, np.uint64])
def test_reads_what_nibabel_writes(tmp_path: Path, suffix: str, kind: Any, dtype: Any) -> None:
    array = scan_array(dtype=dtype)
    affine = np.diag([1.5, 2.0, 2.5, 1.0])
    affine[:3, 3] = [-3, 4, 5]
    volume = read_volume(save(tmp_path / f"a{suffix}", array, affine, kind))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine)
    assert (volume.array.dtype, volume.affine.dtype) == (np.float32, np.float64)
    assert volume.array.flags.c_contiguous
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
    header = read_header(tmp_path / "a.nii.gz")
    assert header.orientation == codes
    assert header.shape == turned.shape
    np.testing.assert_allclose(header.spacing_mm, turned.header.get_zooms(), rtol=1e-6)
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


@pytest.mark.parametrize(("slope", "expected"), [(2.0, 7.0), (0.0, 3.0)])
def test_values_are_scaled_and_a_slope_of_zero_means_not(tmp_path: Path, slope: float, expected: float) -> None:
    array = np.zeros(SHAPE, np.int16)
    array[4] = 3
    path = write(tmp_path / "a.nii", nifti(array, scl_slope=slope, scl_inter=1.0))
    assert read_volume(path).array.max() == expected


def test_voxels_are_those_of_nibabel_when_read_in_many_slabs(tmp_path: Path) -> None:
    array = scan_array((130, 70, 61), np.int16)
    path = write(tmp_path / "a.nii.gz", packed(nifti(array, scl_slope=0.3, scl_inter=-7.0)))
    np.testing.assert_array_equal(read_volume(path).array, nibabel.load(path).get_fdata().astype(np.float32))


def test_an_uncompressed_name_may_hold_compressed_data(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii.gz", scan_array())
    plain.rename(tmp_path / "b.nii")
    assert read_volume(tmp_path / "b.nii").array.shape == SHAPE


def test_64_bit_integers_are_taken_up_to_the_last_that_float32_holds(tmp_path: Path) -> None:
    array = scan_array(dtype=np.int64)
    array[0, 0, 0], array[1, 0, 0] = 2**24, -(2**24)
    volume = read_volume(save(tmp_path / "a.nii", array))
    np.testing.assert_array_equal(volume.array.astype(np.int64), array)
    array[0, 0, 0] += 1
    assert "64-bit integers" in fault_of(save(tmp_path / "a.nii", array))[1]


def test_padding_to_a_disk_block_is_let_pass(tmp_path: Path) -> None:
    content = nifti(scan_array())
    assert read_volume(write(tmp_path / "a.nii", content + bytes(4096))).array.shape == SHAPE
    assert "more data" in fault_of(write(tmp_path / "a.nii", content + bytes(4097)))[1]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_frame_of_a_series_is_read_by_its_number(tmp_path: Path, suffix: str) -> None:
    array = scan_array((*SHAPE, 4), np.int16)
    path = save(tmp_path / f"BRATS_001{suffix}", array, oblique_affine())
    for frame in range(4):
        volume = read_volume(path, frame=frame)
        np.testing.assert_array_equal(volume.array, array[..., frame])
        np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-5)
    assert read_header(path, frame=1).num_frames == 4
    assert fault_of(path) == (
        "dimensions",
        f"{path}: 4-D of shape (9, 10, 11, 4): a scan is 3-D: split it, or name a frame",
    )
    for frame in (4, -1):
        assert fault_of(path, frame=frame) == ("dimensions", f"{path}: no frame {frame}: frames are 0 to 3")


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1, 1)])
def test_the_only_frame_may_be_named_and_trailing_axes_of_one_do_not_count(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = save(tmp_path / "a.nii", scan_array(shape))
    assert read_volume(path).array.shape == SHAPE
    assert read_volume(path, frame=0).array.shape == SHAPE
    assert fault_of(path, frame=1)[0] == "dimensions"


def test_damage_in_another_frame_is_damage(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", scan_array((*SHAPE, 4)))
    path.write_bytes(path.read_bytes()[:-1])
    assert fault_of(path, frame=0)[0] == "truncated"


@pytest.mark.parametrize(
    ("shape", "frame", "dtype"),
    [((128, 128, 96), None, np.int16), ((128, 128, 96), None, np.float64), ((96, 96, 96, 4), 2, np.int16)],
)
def test_reading_takes_little_more_memory_than_the_volume(
    tmp_path: Path, shape: tuple[int, ...], frame: int | None, dtype: Any
) -> None:
    content = nifti(scan_array(shape, dtype), scl_slope=2.0)
    path = write(tmp_path / "a.nii.gz", gzip.compress(content, compresslevel=1))
    del content
    tracemalloc.start()
    volume = read_volume(path, frame=frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert volume.array.nbytes <= peak < 2 * volume.array.nbytes


def test_the_limits_are_the_callers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", scan_array())
    assert fault_of(path, max_bytes=9 * 10 * 11 * 4 - 1)[0] == "size"
    assert fault_of(path, min_voxels=10)[0] == "dimensions"
    assert read_volume(path, max_bytes=9 * 10 * 11 * 4).array.shape == SHAPE


def test_the_limit_is_on_float32_or_on_what_is_stored_and_on_all_frames(tmp_path: Path) -> None:
    count = 9 * 10 * 11
    for dtype, size in ((np.uint8, 4), (np.float64, 8)):
        path = save(tmp_path / "a.nii", scan_array(dtype=dtype))
        assert fault_of(path, max_bytes=size * count - 1)[0] == "size"
        read_volume(path, max_bytes=size * count)
    path = save(tmp_path / "b.nii", scan_array((*SHAPE, 3)))
    assert fault_of(path, max_bytes=12 * count - 1, frame=0)[0] == "size"
    read_volume(path, max_bytes=12 * count, frame=0)


def test_a_header_is_read_without_its_voxels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", nifti(scan_array(dtype=np.uint16))[:352])
    header = read_header(path)
    assert isinstance(header, ScanHeader)
    assert (header.shape, header.dtype, header.num_frames) == (SHAPE, np.uint16, 1)
    assert fault_of(path)[0] == "truncated"


def test_a_constant_volume_is_let_pass_for_masks_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones(SHAPE, np.uint8))
    assert fault_of(path)[0] == "voxels"
    assert read_volume(path, allow_constant=True).array.all()


def test_the_error_is_bad_input_and_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(VolumeError("a.nii: broken", "voxels")))  # noqa: S301
    assert isinstance(error, InputError)
    assert (str(error), error.fault) == ("a.nii: broken", "voxels")


@pytest.mark.realdata
def test_real_scans_are_read_as_nibabel_reads_them(real_data: Path) -> None:
    paths = [
        *sorted(real_data.rglob("IXI*.nii.gz"))[:2],
        *sorted(real_data.rglob("study1_*.nii.gz")),
        *sorted(real_data.rglob("T1_*.nii.gz"))[:1],
    ]
    assert len(paths) == 6
    for path in paths:
        volume, image = read_volume(path), nibabel.as_closest_canonical(nibabel.load(path))
        np.testing.assert_array_equal(volume.array, image.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(volume.affine, image.affine, atol=1e-5)
        assert read_header(path).orientation == "".join(nibabel.aff2axcodes(nibabel.load(path).affine))
