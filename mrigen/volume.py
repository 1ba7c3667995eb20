"""One scan as an array and its place in space: reading NIfTI files with suspicion, and writing them.

nibabel accepts much that is no scan (see the checks below), so each is made here and told in one line.
"""

from __future__ import annotations

import gzip
import io
import math
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from mrigen import __version__
from mrigen.errors import InputError

SYNTHETIC_DESCRIPTION = f"synthetic, mrigen {__version__}: not a scan of a person"
"""The mark that every image of ours carries in its NIfTI header (`descrip`, at most 79 characters)."""

MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 20.0
_ALIGNED = 2
_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_BYTES = 540
_MAX_EXTENSION_BYTES = 1 << 26
_MAX_TRAILING_BYTES = 1 << 24


class VolumeError(InputError):
    """A file that is no usable scan. `fault` is its class: missing, format, truncated, size, dimensions, type,
    geometry or voxels."""

    def __init__(self, message: str, fault: str = "format") -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: `array` float32 (X, Y, Z), `affine` float64 (4, 4) from voxel to RAS+ millimetres."""

    array: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each array axis."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])


def read_volume(path: Path, *, max_bytes: int = 2**31, min_voxels: int = 8) -> Volume:
    """Read a three-dimensional NIfTI-1 or NIfTI-2 file (`.nii`, `.nii.gz`), whole and checked.

    The array's axes are reordered and flipped to the closest of RAS+; an oblique grid stays oblique. A
    `scl_slope` of 0 means that values are not scaled, as the NIfTI standard has it.

    Raises:
        VolumeError: naming the file and what is wrong with it. The size that the header claims is checked
            against `max_bytes` before any voxel is read; each axis must have `min_voxels` or more.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise VolumeError(f"{path}: {error.strerror or error}", "missing") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise VolumeError(f"{path}: {kind}, not a NIfTI file", "missing")
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            if not magic:
                raise VolumeError(f"{path}: empty file", "truncated")
            if magic != _GZIP_MAGIC:
                if path.suffix == ".gz":
                    raise VolumeError(f"{path}: named .gz but not compressed by gzip")
                return _read(file, path, max_bytes, min_voxels)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, max_bytes, min_voxels)
    except EOFError:
        raise VolumeError(f"{path}: truncated: the compressed data end too early", "truncated") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: damaged: {error}", "truncated") from None
    except OSError as error:
        raise VolumeError(f"{path}: cannot be read: {error.strerror or error}", "missing") from None


def _read(stream: IO[bytes] | gzip.GzipFile, path: Path, max_bytes: int, min_voxels: int) -> Volume:
    head = stream.read(_HEADER_BYTES)
    header = _parse_header(head, path)
    shape = _checked_shape(header, path, min_voxels)
    claimed = math.prod(shape) * max(4, header.get_data_dtype().itemsize)
    if claimed > max_bytes:
        raise VolumeError(f"{path}: {claimed} bytes of voxels by its header, over the limit of {max_bytes}", "size")
    _check_scaling(header, path)
    affine = _checked_affine(header, path)
    end = int(header["vox_offset"]) + math.prod(shape) * header.get_data_dtype().itemsize
    raw = head + stream.read(max(0, end - len(head)))
    if len(raw) < end:
        raise VolumeError(f"{path}: truncated: {len(raw)} of {end} bytes", "truncated")
    trailing = 0
    while chunk := stream.read(1 << 20):  # reading to the end is what makes gzip compare its checksum
        trailing += len(chunk)
        if trailing > _MAX_TRAILING_BYTES:
            raise VolumeError(f"{path}: more data than its header claims", "format")
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.asarray(header.data_from_fileobj(io.BytesIO(raw)), np.float32).reshape(shape)
    _check_voxels(array, path)
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine))
    canonical = np.ascontiguousarray(np.asanyarray(image.dataobj), np.float32)
    return Volume(canonical, np.asarray(image.affine, np.float64))


def _parse_header(head: bytes, path: Path) -> Any:
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")} if len(head) >= 348 else set()
    if 348 in sizes:
        kind, magic, pair = nibabel.Nifti1Header, head[344:347], b"ni1"
    elif 540 in sizes and len(head) >= 540:
        kind, magic, pair = nibabel.Nifti2Header, head[4:7], b"ni2"
    else:
        raise VolumeError(f"{path}: not a NIfTI file")
    if magic == pair:
        raise VolumeError(f"{path}: header of a .hdr/.img pair: convert it to one .nii.gz file")
    if magic not in (b"n+1", b"n+2"):
        raise VolumeError(f"{path}: not a NIfTI file (Analyze, or damaged): convert it to .nii.gz")
    try:
        header = kind(head[: kind.template_dtype.itemsize], check=False)
        header.get_data_dtype()
        offset = float(header["vox_offset"])
    except Exception as error:  # nibabel raises many kinds here; the header is at fault in each
        raise VolumeError(f"{path}: unreadable header: {' '.join(str(error).split())}") from None
    if not (kind.single_vox_offset <= offset <= _MAX_EXTENSION_BYTES):
        raise VolumeError(f"{path}: vox_offset {offset:g} in the header is not a place for voxels")
    return header


def _checked_shape(header: Any, path: Path, min_voxels: int) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise VolumeError(f"{path}: {count} dimensions in the header", "dimensions")
    shape = [int(size) for size in header["dim"][1 : count + 1]]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3:
        raise VolumeError(f"{path}: {len(shape)}-D of shape {tuple(shape)}: a scan must be 3-D; split it", "dimensions")
    if min(shape) < min_voxels:
        raise VolumeError(f"{path}: shape {tuple(shape)}: each axis needs at least {min_voxels} voxels", "dimensions")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise VolumeError(f"{path}: voxels of type {dtype} (colour or complex): a scan has one real value each", "type")
    return shape[0], shape[1], shape[2]


def _check_scaling(header: Any, path: Path) -> None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or (slope != 0 and not math.isfinite(intercept)):
        raise VolumeError(f"{path}: scl_slope {slope}, scl_inter {intercept} in the header", "voxels")


def _checked_affine(header: Any, path: Path) -> NDArray[np.float64]:
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and qform <= 0:
        raise VolumeError(f"{path}: no orientation: sform_code and qform_code are 0", "geometry")
    pixdim = np.asarray(header["pixdim"][1:4], np.float64)
    if not np.all(np.isfinite(pixdim)) or np.any(pixdim == 0):
        raise VolumeError(f"{path}: pixdim {pixdim.tolist()} in the header", "geometry")
    try:
        affine = np.asarray(header.get_sform() if sform > 0 else header.get_qform(), np.float64)
    except (ValueError, np.linalg.LinAlgError, HeaderDataError) as error:
        raise VolumeError(f"{path}: unusable qform: {error}", "geometry") from None
    name = "sform" if sform > 0 else "qform"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)):
        raise VolumeError(f"{path}: non-finite {name} in the header", "geometry")
    if np.any(lengths < MIN_SPACING_MM) or np.any(lengths > MAX_SPACING_MM):
        told = " x ".join(f"{length:.4g}" for length in lengths)
        raise VolumeError(
            f"{path}: voxels of {told} mm by its {name}: expected {MIN_SPACING_MM} to {MAX_SPACING_MM:g}", "geometry"
        )
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 0.1:
        raise VolumeError(f"{path}: singular {name}: its axes do not span space", "geometry")
    return affine


def _check_voxels(array: NDArray[np.float32], path: Path) -> None:
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # min and max of an array with a NaN are NaN
        raise VolumeError(f"{path}: NaN or infinite voxels", "voxels")
    if low == high:
        raise VolumeError(f"{path}: every voxel is {low:g}", "voxels")


def nifti_bytes(volume: Volume, *, description: str, dtype: DTypeLike = np.float32) -> bytes:
    """A `.nii.gz` file: the same volume gives the same bytes.

    The header is new: sform and qform (code 2, aligned), millimetres, the range of values for viewers, and
    `description`, of at most 79 ASCII characters. Integer `dtype` rounds; values must fit it.

    Raises:
        ValueError: if the description is too long, or values do not fit `dtype`.
    """
    text = description.encode("ascii")
    if len(text) > 79:
        raise ValueError(f"description of {len(text)} characters, at most 79 fit: {description!r}")
    array: NDArray[Any] = volume.array
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        array = np.rint(array)
        limits = np.iinfo(kind)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise ValueError(f"values {array.min():g} to {array.max():g} do not fit {kind}")
    image = nibabel.Nifti1Image(array.astype(kind), volume.affine, dtype=kind)
    image.set_sform(volume.affine, code=_ALIGNED)
    image.set_qform(volume.affine, code=_ALIGNED)
    header = image.header
    header.set_xyzt_units("mm")
    header["descrip"] = text
    header["cal_min"], header["cal_max"] = float(array.min()), float(array.max())
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as stream:
        stream.write(image.to_bytes())
    return buffer.getvalue()
