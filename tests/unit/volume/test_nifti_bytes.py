"""Volumes out: what is written is what nibabel reads, and always the same bytes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from mrigen.volume import SYNTHETIC_DESCRIPTION, Volume, nifti_bytes, read_volume
from tests.malformed import good_array

AFFINE = np.array([[0.96, -0.56, 0, -10], [0.28, 1.92, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])
"""Of voxels of 1 x 2 x 3 mm, turned in the axial plane."""


def test_what_is_written_is_what_nibabel_reads(tmp_path: Path) -> None:
    volume = Volume(good_array(np.float32), AFFINE)
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
    path.write_bytes(nifti_bytes(Volume(good_array(np.float32, (16, 16, 1)), np.eye(4)), description="x"))
    assert nibabel.load(path).shape == (16, 16, 1)
    assert read_volume(path, min_voxels=1).array.shape == (16, 16, 1)


def test_the_same_volume_gives_the_same_bytes() -> None:
    volume = Volume(good_array(np.float32), AFFINE)
    content = nifti_bytes(volume, description="x")
    assert content == nifti_bytes(volume, description="x")
    assert content[3:8] == bytes(5)  # gzip's header (RFC 1952): no file name, no time


def test_whole_numbers_are_rounded_and_must_fit(tmp_path: Path) -> None:
    array = np.zeros((9, 10, 11), np.float32)
    array[1], array[2] = 2.6, 255
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti_bytes(Volume(array, np.eye(4)), description="x", dtype=np.uint8))
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    assert image.get_fdata()[1, 0, 0] == 3
    with pytest.raises(ValueError, match="do not fit uint8"):
        nifti_bytes(Volume(array - 1, np.eye(4)), description="x", dtype=np.uint8)


def test_a_description_must_fit_its_field() -> None:
    volume = Volume(good_array(np.float32), np.eye(4))
    assert len(SYNTHETIC_DESCRIPTION) <= 79
    assert SYNTHETIC_DESCRIPTION.startswith("synthetic")
    with pytest.raises(ValueError, match="79"):
        nifti_bytes(volume, description="x" * 80)
