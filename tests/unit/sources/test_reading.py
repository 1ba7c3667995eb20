"""Scans on a disk and on storage that is none: their files, hashes, headers, voxels and masks."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.fs as pafs
import pytest

from mrigen.sources import reading
from mrigen.sources.reading import hash_scan, read_mask, read_scan, scan_header
from mrigen.sources.scans import Scan
from mrigen.storage import Location
from mrigen.volume import VolumeError, read_header, read_volume
from tests.dicom_series import write_series
from tests.fake_scans import scan_at as listed
from tests.malformed import SHAPE, analyze_header, good_array, nifti, packed

NAMES = ["a.nii.gz", "series4d.nii", "oasis.hdr", "dicom"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One scan of each kind, and a mask."""
    array = good_array()
    (tmp_path / "a.nii.gz").write_bytes(packed(nifti()))
    (tmp_path / "series4d.nii").write_bytes(nifti(np.stack([array, array + 1], axis=-1)))
    (tmp_path / "oasis.hdr").write_bytes(analyze_header())
    (tmp_path / "oasis.img").write_bytes(array.astype(">i2").tobytes(order="F"))
    (tmp_path / "mask.nii.gz").write_bytes(packed(nifti((array > 50).astype(np.uint8))))
    write_series(tmp_path / "dicom", array, np.diag([-1.0, -1.0, 2.0, 1.0]))
    (tmp_path / "dicom" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "dicom" / "deeper").mkdir()
    (tmp_path / "dicom" / "deeper" / "notes.txt").write_text("hello")
    return tmp_path


def on_disk(folder: Path) -> Location:
    return Location.parse(folder)


def in_store(folder: Path) -> Location:
    return Location(pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem()), "")


PLACES = pytest.mark.parametrize("place_of", [on_disk, in_store])


def scan_at(place: Location, name: str, **fields: object) -> Scan:
    path = (place / name).path if place.local else name
    return replace(listed(path), frame=1 if "4d" in name else None, **fields)


def fault_of(read: object, scan: Scan, place: Location, **limits: int) -> tuple[str, str]:
    with pytest.raises(VolumeError) as caught:
        read(scan, place, **limits)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    assert "mrigen-" not in message  # the name of a temporary copy
    return caught.value.fault, message


@PLACES
def test_scans_are_read_whole_from_any_storage(folder: Path, place_of: object) -> None:
    place = place_of(folder)  # type: ignore[operator]
    array = good_array().astype(np.float32)
    expected = {"a.nii.gz": array, "series4d.nii": array + 1, "oasis.hdr": array[::-1], "dicom": array[::-1, ::-1]}
    for name in NAMES:
        scan = scan_at(place, name)
        np.testing.assert_array_equal(read_scan(scan, place).array, expected[name])
        header = scan_header(scan, place)
        assert header.shape == SHAPE
        orientation = {"oasis.hdr": "LAS", "dicom": "LPS"}.get(name, "RAS")
        assert header.orientation == orientation
    turned = scan_at(place, "oasis.hdr", orientation="RAS")
    np.testing.assert_array_equal(read_scan(turned, place).array, array)
    assert scan_header(turned, place).orientation == "RAS"
    assert not list(Path(tempfile.gettempdir()).glob("mrigen-*/oasis.hdr"))


def test_the_hash_is_that_of_the_content(folder: Path) -> None:
    place, store = on_disk(folder), in_store(folder)
    hashes = {name: hash_scan(scan_at(place, name), place) for name in NAMES}
    assert hashes["a.nii.gz"] == hashlib.sha256((folder / "a.nii.gz").read_bytes()).hexdigest()
    assert len(set(hashes.values())) == len(NAMES)
    for name in NAMES:
        assert hash_scan(scan_at(store, name), store) == hashes[name]
    frames = [hash_scan(replace(scan_at(place, "series4d.nii"), frame=frame), place) for frame in (None, 0, 1)]
    assert len(set(frames)) == 3
    for other in ("dicom/.DS_Store", "dicom/deeper/notes.txt"):
        (folder / other).write_text("changed")
    (folder / "oasis.img").rename(folder / "oasis.img.gz")
    for name in NAMES:
        assert hash_scan(scan_at(place, name), place) == hashes[name]
    for name, changed in (("oasis.hdr", "oasis.img.gz"), ("dicom", "dicom/IM0003.dcm")):
        with (folder / changed).open("ab") as file:
            file.write(b"x")
        assert hash_scan(scan_at(place, name), place) != hashes[name]


@PLACES
def test_what_is_missing_has_no_hash(folder: Path, place_of: object) -> None:
    place = place_of(folder)  # type: ignore[operator]
    os.mkfifo(folder / "fifo.nii.gz")  # to read it would be to wait
    (folder / "folder.nii.gz").mkdir()
    (folder / "empty").mkdir()
    (folder / "oasis.img").unlink()
    for name in ("nothing.nii.gz", "fifo.nii.gz", "folder.nii.gz", "empty", "oasis.hdr"):
        scan = scan_at(place, name)
        assert hash_scan(scan, place) == ""
        for read in (scan_header, read_scan):
            fault, message = fault_of(read, scan, place)
            assert fault == ("format" if name == "empty" and place.local else "missing")
            assert scan.path.removesuffix(".hdr") in message


def test_messages_name_the_remote_file(folder: Path) -> None:
    place = in_store(folder)
    (folder / "sub").mkdir()
    (folder / "sub" / "text.nii").write_bytes(b"hello" * 100)
    fault, message = fault_of(read_scan, scan_at(place, "sub/text.nii"), place)
    assert (fault, message) == ("format", f"{Location(place.filesystem, 'sub/text.nii')}: not a NIfTI file")
    (folder / "oasis.img").write_bytes(b"")
    fault, message = fault_of(read_scan, scan_at(place, "oasis.hdr"), place)
    assert (fault, message) == ("truncated", f"{Location(place.filesystem, 'oasis.img')}: empty file")


def test_a_remote_file_over_the_limit_is_not_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = in_store(folder)
    noise = np.random.default_rng(0).bytes(1 << 20)
    (folder / "large.nii.gz").write_bytes(noise)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", None)  # no copy is begun
    fault, message = fault_of(read_scan, scan_at(place, "large.nii.gz"), place, max_bytes=len(noise) - 1)
    assert fault == "size"
    assert "1 MB in storage, over the limit" in message


def test_only_the_beginning_of_a_remote_file_is_fetched_for_its_header(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = in_store(folder)
    (folder / "large.nii").write_bytes(nifti(np.resize(good_array(), (60, 60, 60))))
    fetched = []
    monkeypatch.setattr(
        reading, "read_header", lambda path, **said: fetched.append(path.stat().st_size) or read_header(path, **said)
    )
    scan = scan_at(place, "large.nii")
    assert scan_header(scan, place, max_bytes=60**3 * 4).shape == (60, 60, 60)
    assert fetched == [1 << 16]
    assert fault_of(scan_header, scan, place, max_bytes=60**3 * 4 - 1)[0] == "size"


@PLACES
def test_a_mask_is_read_in_the_place_of_its_scan(folder: Path, place_of: object) -> None:
    place = place_of(folder)  # type: ignore[operator]
    mask_at = scan_at(place, "mask.nii.gz").path
    scan = scan_at(place, "a.nii.gz", mask=mask_at)
    np.testing.assert_array_equal(read_mask(scan, place).array, good_array() > 50)
    full = np.ones(SHAPE, np.uint8)
    (folder / "mask.nii.gz").write_bytes(packed(nifti(full)))
    assert read_mask(scan, place).array.all()
    (folder / "mask.nii.gz").write_bytes(packed(nifti(0 * full)))
    fault, message = fault_of(read_mask, scan, place)
    assert fault == "voxels"
    assert message == f"{Location(place.filesystem, mask_at)}: empty mask: every voxel is 0"
    assert fault_of(read_mask, scan, place, max_bytes=1000)[0] == "size"


def test_a_mask_without_axes_has_those_of_its_scan(folder: Path) -> None:
    place = on_disk(folder)
    for orientation in ("LAS", "RPI"):
        scan = scan_at(place, "oasis.hdr", orientation=orientation, mask=str(folder / "oasis.hdr"))
        np.testing.assert_array_equal(read_mask(scan, place).array, read_scan(scan, place).array)
        np.testing.assert_array_equal(read_mask(scan, place).affine, read_scan(scan, place).affine)


def test_a_frame_of_a_remote_scan_is_that_of_the_file(folder: Path) -> None:
    place = in_store(folder)
    scan = replace(scan_at(place, "series4d.nii"), frame=0)
    np.testing.assert_array_equal(read_scan(scan, place).array, read_volume(folder / "series4d.nii", frame=0).array)
    assert fault_of(scan_header, replace(scan, frame=None), place)[0] == "dimensions"
    oracle = nibabel.load(folder / "series4d.nii").get_fdata()[..., 0]
    np.testing.assert_array_equal(read_scan(scan, place).array, oracle)
