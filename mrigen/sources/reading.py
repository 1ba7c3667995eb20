"""The files that make a scan, their hash, and reading them from any storage."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from mrigen.sources.dicom import read_series, read_series_header
from mrigen.sources.listing import is_scan_name
from mrigen.sources.options import DEFAULT_ORIENTATION
from mrigen.sources.scans import Scan
from mrigen.storage import CHUNK, Location
from mrigen.volume import MAX_SCAN_BYTES, ScanHeader, Volume, VolumeError, read_header, read_volume
from mrigen.volume.checks import check_bytes
from mrigen.volume.reading import IMAGE_SUFFIXES

_HEAD_BYTES = 1 << 16


def hash_scan(scan: Scan, place: Location) -> str:
    """What tells a scan's content from every other, as hex; empty if a file is missing or cannot be read.

    The SHA-256 of the one file, or one over the hashes of several and the number of the frame.
    """
    files = _files(place.at(scan.path))
    try:
        if not files or not all(file.is_file() for file in files):
            return ""
        digests = [file.sha256() for file in files]
    except OSError:
        return ""
    if len(digests) == 1 and scan.frame is None:
        return digests[0]
    return hashlib.sha256(f"{' '.join(digests)} frame {scan.frame}".encode()).hexdigest()


def scan_header(scan: Scan, place: Location, *, max_bytes: int = MAX_SCAN_BYTES) -> ScanHeader:
    """Read and check a scan's header, but no voxel. Of a remote file only the beginning is fetched.

    Raises VolumeError if the header is at fault. Raises InputError if the scan is a DICOM series and SimpleITK is not
    installed.
    """
    location = place.at(scan.path)
    if _is_series(location):
        with _on_disk(location, max_bytes) as path:
            return read_series_header(path, max_bytes=max_bytes)
    with _on_disk(location, max_bytes, head_only=True) as path:
        orientation = scan.orientation or DEFAULT_ORIENTATION
        return read_header(path, max_bytes=max_bytes, frame=scan.frame, orientation=orientation)


def read_scan(scan: Scan, place: Location, *, max_bytes: int = MAX_SCAN_BYTES) -> Volume:
    """Read a scan from any storage; a remote one through a temporary copy, of at most `max_bytes`.

    Raises VolumeError if it is no usable scan. Raises InputError if the scan is a DICOM series and SimpleITK is not
    installed.
    """
    location = place.at(scan.path)
    if _is_series(location):
        with _on_disk(location, max_bytes) as path:
            return read_series(path, max_bytes=max_bytes)
    return _read(location, scan, max_bytes, frame=scan.frame)


def read_mask(scan: Scan, place: Location, *, max_bytes: int = MAX_SCAN_BYTES) -> Volume:
    """Read a scan's brain mask, a volume of which some voxel is not 0.

    Raises VolumeError if it is no usable volume, or empty.
    """
    location = place.at(scan.mask)
    mask = _read(location, scan, max_bytes, allow_constant=True)
    if not mask.array.any():
        raise VolumeError(f"{location}: empty mask: every voxel is 0", "voxels")
    return mask


def read_lesions(scan: Scan, place: Location, *, max_bytes: int = MAX_SCAN_BYTES) -> Volume:
    """Read the labels of a scan's lesions; all may be 0.

    Raises VolumeError if it is no usable volume.
    """
    return _read(place.at(scan.lesions), scan, max_bytes, allow_constant=True)


def _read(location: Location, scan: Scan, max_bytes: int, **how: Any) -> Volume:
    with _on_disk(location, max_bytes) as path:
        return read_volume(path, max_bytes=max_bytes, orientation=scan.orientation or DEFAULT_ORIENTATION, **how)


def _is_series(location: Location) -> bool:
    return not is_scan_name(location.path) and location.is_folder()


def _files(location: Location) -> list[Location]:
    """The files that hold a scan, which need not exist: one, a `.hdr` and its `.img`, or a series' own, sorted."""
    if _is_series(location):
        start = len(location.path.rstrip("/")) + 1
        return [file for file in location.files() if "/" not in file.path[start:] and not file.name.startswith(".")]
    if not location.path.casefold().endswith(".hdr"):
        return [location]
    images = [location.at(location.path[: -len(".hdr")] + suffix) for suffix in IMAGE_SUFFIXES]
    return [location, next((image for image in images if image.is_file()), images[0])]


@contextlib.contextmanager
def _on_disk(location: Location, max_bytes: int, *, head_only: bool = False) -> Iterator[Path]:
    """A scan's path on the local disk: its own, or that of a temporary copy of its files.

    A VolumeError that names the copy is made to name what was copied.
    """
    if location.local is not None:
        yield location.local
        return
    files = _files(location)
    stored = _stored_bytes(files, location.filesystem)
    if not head_only:
        check_bytes(stored, "in storage", location, max_bytes)
    with tempfile.TemporaryDirectory(prefix="mrigen-") as folder:
        above = PurePosixPath(location.path).parent
        for file in files:
            target = Path(folder) / PurePosixPath(file.path).relative_to(above)
            _copy(file, target, _HEAD_BYTES if head_only else max_bytes)
        try:
            yield Path(folder) / location.name
        except VolumeError as error:
            told = str(error).replace(f"{folder}/", str(location).removesuffix(location.name))
            raise VolumeError(told, error.fault) from None


def _stored_bytes(files: Sequence[Location], filesystem: pafs.FileSystem) -> int:
    """Size of all files together. Raises VolumeError if one is none; to open a FIFO would be to wait."""
    infos = filesystem.get_file_info([file.path for file in files])
    for file, info in zip(files, infos, strict=True):
        if info.type != pafs.FileType.File:
            raise VolumeError(f"{file}: no such file", "missing")
    return sum(info.size for info in infos)


def _copy(file: Location, target: Path, max_bytes: int) -> None:
    """Copy the first `max_bytes` of a file, in chunks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream, target.open("wb") as copy:
            while max_bytes and (chunk := stream.read(min(CHUNK, max_bytes))):
                copy.write(chunk)
                max_bytes -= len(chunk)
    except OSError as error:
        raise VolumeError(f"{file}: {' '.join(str(error).split())}", "missing") from None
