"""Reading a scan from a NIfTI or Analyze file, whole and checked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mrigen.volume.checks import check_frame, check_size, check_voxels
from mrigen.volume.header import HEADER_BYTES, is_pair, parse_header
from mrigen.volume.packing import expect_end, open_packed, read_exactly, skip
from mrigen.volume.scan import MAX_SCAN_BYTES, MIN_VOXELS, ScanHeader, Volume, VolumeError, closest_ras

IMAGE_SUFFIXES = (".img", ".img.gz")
"""Of the file with the voxels, beside a `.hdr`."""

_SLAB_VOXELS = 1 << 17
_MAX_EXACT_INTEGER = 1 << 24


def read_header(
    path: Path,
    *,
    max_bytes: int = MAX_SCAN_BYTES,
    min_voxels: int = MIN_VOXELS,
    frame: int | None = None,
    orientation: str = "LAS",
) -> ScanHeader:
    """Read and check the header of a scan, but none of its voxels: for a look at many files.

    Raises VolumeError wherever `read_volume` does so for the header's sake.
    """
    with open_packed(path) as stream:
        head = stream.read(HEADER_BYTES)
    header = parse_header(head, path, min_voxels=min_voxels, orientation=orientation)
    check_frame(header, path, frame)
    check_size(header, path, max_bytes)
    voxel_file(path)
    return header


def read_volume(
    path: Path,
    *,
    max_bytes: int = MAX_SCAN_BYTES,
    min_voxels: int = MIN_VOXELS,
    frame: int | None = None,
    orientation: str = "LAS",
    allow_constant: bool = False,
) -> Volume:
    """Read a scan: a NIfTI-1 or NIfTI-2 file (`.nii`, `.nii.gz`), or the `.hdr` of a NIfTI pair or Analyze 7.5 file
    with its `.img` or `.img.gz` beside it.

    The array's axes are reordered and flipped to the closest of RAS+; an oblique grid stays oblique. Analyze files
    do not tell their axes: `orientation` does. Of a 4-D file one `frame`, counted from 0, is read, and only that one
    is held in memory. All voxels become float32: integers of 8 and 16 bits as they are, 32-bit ones and doubles
    rounded to 24 significant bits; integers of 64 bits are taken where float32 holds each exactly (up to 2^24), for
    what is beyond is no intensity but the bits of another type.

    Raises VolumeError: naming the file and what is wrong with it. The size that the header claims for all frames is
    checked against `max_bytes` before any voxel is read; each axis must have `min_voxels` or more; a volume with the
    same value everywhere is refused, unless `allow_constant` for masks.
    """
    header = read_header(path, max_bytes=max_bytes, min_voxels=min_voxels, frame=frame, orientation=orientation)
    place = frame or 0
    array, as_stored, affine = closest_ras(header)
    with open_packed(voxel_file(path)) as stream:
        skip(stream, header.offset + place * header.frame_bytes, path)
        _fill(as_stored, stream, header, path)
        skip(stream, (header.num_frames - 1 - place) * header.frame_bytes, path)
        expect_end(stream, path)
    check_voxels(array, path, allow_constant=allow_constant)
    return Volume(array, affine)


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels: `path` itself, or the `.img` or `.img.gz` beside a `.hdr`.

    Raises VolumeError if there is neither.
    """
    if not is_pair(path):
        return path
    for suffix in IMAGE_SUFFIXES:
        image = path.with_suffix(suffix)
        if image.exists():
            return image
    raise VolumeError(f"{path}: no {path.stem}.img or {path.stem}.img.gz beside it", "missing")


def _fill(as_stored: NDArray[np.float32], stream: IO[bytes], header: ScanHeader, path: Path) -> None:
    """Read voxels, some planes at a time, into an array with the axes of the file."""
    width, height, depth = header.shape
    step = max(1, _SLAB_VOXELS // (width * height))
    for start in range(0, depth, step):
        shape = width, height, min(step, depth - start)
        raw = read_exactly(stream, math.prod(shape) * header.dtype.itemsize, path)
        slab = np.frombuffer(raw, header.dtype).reshape(shape, order="F")
        if slab.dtype.kind in "iu" and slab.dtype.itemsize == 8:
            _check_exact(slab, path)
        with np.errstate(over="ignore", invalid="ignore"):
            if (header.slope, header.intercept) != (1.0, 0.0):
                slab = slab * np.float64(header.slope) + np.float64(header.intercept)
            as_stored[..., start : start + step] = slab


def _check_exact(slab: NDArray[np.int64], path: Path) -> None:
    low, high = int(slab.min()), int(slab.max())
    if max(-low, high) > _MAX_EXACT_INTEGER:
        raise VolumeError(
            f"{path}: 64-bit integers from {low} to {high}: float32 holds them exactly up to {_MAX_EXACT_INTEGER}",
            "voxels",
        )
