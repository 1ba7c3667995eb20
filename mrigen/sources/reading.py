"""The files that make a scan, and reading them from any storage."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mrigen.sources.scans import Scan
from mrigen.storage import Location
from mrigen.volume import Volume, VolumeError, read_volume


def scan_files(scan: Scan, source: Location) -> list[Location]:
    """The files that hold a scan's voxels: what its hash is taken of."""
    return [Location(source.filesystem, scan.path)]


def read_scan(scan: Scan, source: Location) -> Volume:
    """Read a scan from any storage. Raises VolumeError."""
    location = Location(source.filesystem, scan.path)
    if location.local is not None:
        return read_volume(location.local)
    with tempfile.TemporaryDirectory(prefix="mrigen-") as folder:
        copy = Path(folder) / location.name
        try:
            copy.write_bytes(location.read_bytes())
        except OSError as error:
            raise VolumeError(f"{location}: {' '.join(str(error).split())}", "missing") from None
        try:
            return read_volume(copy)
        except VolumeError as error:
            raise VolumeError(str(error).replace(str(copy), str(location)), error.fault) from None
