"""Headers and voxels in two files: Analyze 7.5 and NIfTI pairs, with nibabel as the oracle."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mrigen.errors import InputError
from mrigen.volume import VolumeError, read_header, read_volume
from tests.malformed import analyze_header

SHAPE = (9, 10, 11)


def write_analyze(path: Path, array: np.ndarray[Any, Any], order: str, zooms: tuple[float, ...]) -> Path:
    header = nibabel.AnalyzeHeader(endianness=order)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_zooms((*zooms, 1.0)[: array.ndim])
    path.write_bytes(header.binaryblock)
    path.with_suffix(".img").write_bytes(array.astype(array.dtype.newbyteorder(order)).tobytes(order="F"))
    return path


def array_of(shape: tuple[int, ...], dtype: Any = np.int16) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 3000, shape).astype(dtype)


def test_a_scan_of_oasis_1_is_read_as_nibabel_reads_it(tmp_path: Path) -> None:
    path = write_analyze(
        tmp_path / "OAS1_0001_MR1_mpr_n4_anon_111_t88_gfc.hdr", array_of((176, 208, 176, 1)), ">", (1.0, 1.0, 1.0)
    )
    header = read_header(path)
    assert (header.shape, header.orientation, header.dtype) == ((176, 208, 176), "LAS", np.dtype(">i2"))
    volume = read_volume(path)
    image = nibabel.load(path)
    oracle = nibabel.as_closest_canonical(nibabel.Nifti1Image(np.asarray(image.dataobj)[..., 0], image.affine))
    np.testing.assert_array_equal(volume.array, oracle.get_fdata())
    np.testing.assert_allclose(volume.affine, oracle.affine)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_analyze_of_either_byte_order(tmp_path: Path, order: str, dtype: Any) -> None:
    array = array_of(SHAPE, dtype)
    volume = read_volume(write_analyze(tmp_path / "a.hdr", array, order, (1.0, 1.5, 2.0)))
    np.testing.assert_array_equal(volume.array, array[::-1])
    assert volume.spacing_mm == (1.0, 1.5, 2.0)


def all_orientations() -> list[str]:
    return ["".join(axes) for order in itertools.permutations(["RL", "AP", "SI"]) for axes in itertools.product(*order)]


def test_the_axes_of_analyze_are_what_the_caller_says(tmp_path: Path) -> None:
    array = array_of(SHAPE)
    path = write_analyze(tmp_path / "a.hdr", array, ">", (1.0, 1.5, 2.0))
    assert len(all_orientations()) == 48
    for codes in all_orientations():
        header = read_header(path, orientation=codes)
        assert header.orientation == codes
        assert header.spacing_mm == (1.0, 1.5, 2.0)
        volume = read_volume(path, orientation=codes)
        oracle = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, header.affine))
        np.testing.assert_array_equal(volume.array, oracle.get_fdata())
        np.testing.assert_allclose(volume.affine, oracle.affine)
        middle = volume.affine @ [*((size - 1) / 2 for size in volume.array.shape), 1]
        np.testing.assert_allclose(middle, [0, 0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("orientation", ["", "LA", "XYZ", "LRS", "las", "LASI"])
def test_axes_that_make_no_sense_are_told(tmp_path: Path, orientation: str) -> None:
    path = write_analyze(tmp_path / "a.hdr", array_of(SHAPE), ">", (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="three letters say where the axes point, such as LAS"):
        read_volume(path, orientation=orientation)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_pair_tells_its_own_orientation(tmp_path: Path, kind: Any, is_packed: bool) -> None:
    array = array_of(SHAPE)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nibabel.save(kind(array, affine), tmp_path / "a.img")
    if is_packed:
        image = tmp_path / "a.img"
        (tmp_path / "a.img.gz").write_bytes(gzip.compress(image.read_bytes()))
        image.unlink()
    volume = read_volume(tmp_path / "a.hdr", orientation="PIR")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine)


def test_a_frame_of_a_pair(tmp_path: Path) -> None:
    array = array_of((*SHAPE, 3))
    path = write_analyze(tmp_path / "a.hdr", array, ">", (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(read_volume(path, frame=1, orientation="RAS").array, array[..., 1])


def test_voxels_that_are_not_there_are_missing_by_the_header_too(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    path.write_bytes(analyze_header())
    with pytest.raises(VolumeError, match=r"no a\.img or a\.img\.gz beside it") as caught:
        read_header(path)
    assert caught.value.fault == "missing"
