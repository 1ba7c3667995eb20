"""DICOM series: found by the mark that each DICOM file carries, labelled by the user's options, and read by SimpleITK
(the extra `mrigen[dicom]`): geometry and voxels, and nothing else of their headers."""

from __future__ import annotations

import contextlib
import locale
import math
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.options import SourceOptions
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan
from mrigen.storage import Location
from mrigen.volume import MAX_SCAN_BYTES, MIN_VOXELS, ScanHeader, Volume, VolumeError
from mrigen.volume.checks import check_affine, check_bytes, check_shape, check_size, check_voxels
from mrigen.volume.scan import Affine, closest_ras

_LIST_OF_FILES = "DICOMDIR"
_SUFFIXES = ("", ".dcm", ".dicom", ".ima")
_LOOKS = 3
"""Files of a folder that are looked at: a README may stand before the first slice."""
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PIXEL_TYPES = ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "Float32", "Float64")
_MAX_UNEVENNESS = 0.1
"""Steps from slice to slice differ by no more than this share of their mean."""


@dataclass(frozen=True, eq=False)
class _Slice:
    """What one file of a series tells: `size` (X, Y, Z), Z mostly 1; the affine is to LPS+ millimetres."""

    file: str
    size: tuple[int, ...]
    affine: Affine
    dtype: np.dtype[Any]


def find_series(folder: Location, files: Iterable[str], options: SourceOptions) -> ClaimedFiles | None:
    """The DICOM series among `files`, paths relative to `folder`: each folder with DICOM files is one scan.

    The subject is the first folder below the source, or the source's own name. Without a pathology and a modality in
    the options every series is left out with the remedy.
    """
    candidates: dict[str, list[str]] = {}
    for path in sorted(files):
        if _may_be_dicom(posixpath.basename(path)):
            candidates.setdefault(posixpath.dirname(path), []).append(path)
    claim = ClaimedFiles("DICOM series", set())
    for around, paths in candidates.items():
        if not any(_is_dicom(folder / path) for path in paths[:_LOOKS]):
            continue
        claim.paths.update(paths)
        full = (folder / around).path
        if not (options.pathology and options.modality):
            told = "a DICOM series, whose labels are not known: give pathology and modality as options, or list it"
            claim.rejected.append(Rejected.because(full, f"{told} in a manifest", "label"))
            continue
        subject = around.split("/")[0] or folder.name
        pathology, modality = Pathology(options.pathology), Modality(options.modality)
        claim.scans.append(Scan(full, subject, "", folder.name, pathology, modality, "unknown"))
    return claim if claim.paths else None


def _may_be_dicom(name: str) -> bool:
    suffix = posixpath.splitext(name)[1].casefold()
    return name != _LIST_OF_FILES and (suffix in _SUFFIXES or suffix[1:].isdigit())


def _is_dicom(file: Location) -> bool:
    """Whether a file has the mark `DICM` behind its preamble of 128 bytes (DICOM PS3.10, section 7.1)."""
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            return bool(stream.read(132)[128:] == b"DICM")
    except OSError:
        return False


def read_series_header(folder: Path, *, max_bytes: int = MAX_SCAN_BYTES, min_voxels: int = MIN_VOXELS) -> ScanHeader:
    """Check the headers of the one DICOM series in a folder; the third axis goes from slice to slice.

    Raises VolumeError if there is none or there are several, or their slices do not make an even grid. Raises
    InputError if SimpleITK is not installed.
    """
    with _quiet_simpleitk() as sitk:
        return _header(_slices(sitk, folder, max_bytes), folder, max_bytes, min_voxels)


def read_series(folder: Path, *, max_bytes: int = MAX_SCAN_BYTES, min_voxels: int = MIN_VOXELS) -> Volume:
    """Read the one DICOM series in a folder, whole and checked as `read_volume` does it.

    Raises VolumeError as `read_series_header` does, or if voxels are at fault. Raises InputError if SimpleITK is not
    installed.
    """
    with _quiet_simpleitk() as sitk:
        slices = _slices(sitk, folder, max_bytes)
        header = _header(slices, folder, max_bytes, min_voxels)
        array, as_stored, affine = closest_ras(header)
        depth = header.shape[2] // len(slices)
        for place, one in enumerate(slices):
            as_stored[..., place * depth : (place + 1) * depth] = _voxels(sitk, one)
    check_voxels(array, folder, allow_constant=False)
    return Volume(array, affine)


@contextlib.contextmanager
def _quiet_simpleitk() -> Iterator[Any]:
    """SimpleITK, which for the time being writes no warnings to the console, and leaves the locale as it was."""
    try:
        import SimpleITK as sitk
    except ImportError:
        raise InputError("DICOM series need SimpleITK: pip install 'mrigen[dicom]'") from None
    display = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield sitk
    finally:
        locale.setlocale(locale.LC_ALL, before)  # GDCM sets it to "C", and text files would be ASCII from then on
        sitk.ProcessObject.SetGlobalWarningDisplay(display)


def _slices(sitk: Any, folder: Path, max_bytes: int) -> list[_Slice]:
    """What the files of the series tell, in order of place."""
    if not folder.is_dir():
        raise VolumeError(f"{folder}: no such folder", "missing")
    entries = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    for path in entries:
        if not path.is_file():  # to open a FIFO would be to wait
            raise VolumeError(f"{path}: not a regular file", "missing")
    check_bytes(sum(path.stat().st_size for path in entries), "in storage", folder, max_bytes)
    with _told(str(folder)):
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]) if series else ()
    if len(series) > 1:
        told = ", ".join(series[:3]) + (", ..." if len(series) > 3 else "")
        raise VolumeError(f"{folder}: {len(series)} DICOM series, a folder for each is needed: {told}", "dimensions")
    if not files:
        raise VolumeError(f"{folder}: no DICOM series in this folder")
    taken = {Path(file) for file in files}
    for path in entries:
        if path in taken or path.name == _LIST_OF_FILES:
            continue
        if path.suffix.casefold() in (".dcm", ".ima") or _is_dicom(Location.parse(path)):  # which GDCM could not read
            raise VolumeError(f"{path}: damaged, or no image", "truncated")
    return [_slice(sitk, file) for file in files]


def _slice(sitk: Any, file: str) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    with _told(file):
        reader.ReadImageInformation()
    dtypes = {getattr(sitk, f"sitk{name}"): np.dtype(name.lower()) for name in _PIXEL_TYPES}
    if reader.GetPixelID() not in dtypes:
        told = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        raise VolumeError(f"{file}: voxels are {told}: a scan has one real value each", "type")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    return _Slice(file, reader.GetSize(), affine, dtypes[reader.GetPixelID()])


def _voxels(sitk: Any, one: _Slice) -> NDArray[np.float32]:
    """A file's voxels (X, Y, Z), scaled as its header tells."""
    with _told(one.file):
        image = sitk.ReadImage(one.file, sitk.sitkFloat32, "GDCMImageIO")
    voxels: NDArray[np.float32] = sitk.GetArrayFromImage(image).T
    return voxels


@contextlib.contextmanager
def _told(file: str) -> Iterator[None]:
    """SimpleITK's many-lined errors as one line."""
    try:
        yield
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[-1].strip() or "unreadable"
        raise VolumeError(f"{file}: damaged: {cause}", "truncated") from None


def _header(slices: list[_Slice], folder: Path, max_bytes: int, min_voxels: int) -> ScanHeader:
    """The grid that the slices make together."""
    first = slices[0]
    columns, rows, depth = first.size
    affine = first.affine.copy()
    if len(slices) > 1:
        if depth != 1 or any(one.size != first.size for one in slices):
            sizes = ", ".join(sorted({" x ".join(map(str, one.size)) for one in slices}))
            raise VolumeError(f"{folder}: slices of different size: {sizes}", "dimensions")
        if not all(np.allclose(one.affine[:3, :2], first.affine[:3, :2], atol=1e-3) for one in slices):
            raise VolumeError(f"{folder}: slices of different direction or spacing", "geometry")
        affine[:3, 2] = _step(np.stack([one.affine[:3, 3] for one in slices]), folder)
    shape = check_shape((columns, rows, depth * len(slices)), folder, min_voxels)
    dtype = max((one.dtype for one in slices), key=lambda dtype: dtype.itemsize)
    header = ScanHeader(shape, check_affine(_RAS_FROM_LPS @ affine, folder, "DICOM geometry"), dtype)
    check_size(header, folder, max_bytes)
    return header


def _step(origins: NDArray[np.float64], folder: Path) -> NDArray[np.float64]:
    """The mean step (3,) in mm from slice to slice, of `origins` (N, 3)."""
    steps = np.diff(origins, axis=0)
    mean: NDArray[np.float64] = steps.mean(axis=0)
    worst = float(np.linalg.norm(steps - mean, axis=1).max())
    if not worst <= _MAX_UNEVENNESS * math.hypot(*mean):
        told = ", ".join(sorted({f"{length:.3g}" for length in np.linalg.norm(steps, axis=1)})[:5])
        raise VolumeError(f"{folder}: slices are not evenly spaced (steps of {told} mm): is one missing?", "geometry")
    return mean
