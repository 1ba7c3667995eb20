"""Folders of DICOM series: found by the mark that each DICOM file carries, labelled by the user's options."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from mrigen.labels import Modality, Pathology
from mrigen.sources.options import SourceOptions
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan
from mrigen.storage import Location

_SUFFIXES = ("", ".dcm", ".dicom", ".ima")
_LOOKS = 3
# files of a folder that are looked at: a README may stand before the first slice


def find_series(folder: Location, files: Iterable[str], options: SourceOptions) -> ClaimedFiles | None:
    """The DICOM series among `files`, paths relative to `folder`: each folder with DICOM files is one scan.

    The subject is the first folder below the source, or the source's own name. Without a pathology and a modality in
    the options every series is left out with the remedy.
    """
    candidates: dict[str, list[str]] = {}
    for path in sorted(files):
        if _may_be_dicom(posixpath.basename(path)):
            candidates.setdefault(posixpath.dirname(path), []).append(path)
    series = {
        around: paths for around, paths in candidates.items() if any(is_dicom(folder / path) for path in paths[:_LOOKS])
    }
    if not series:
        return None
    scans, rejected = [], []
    for around in series:
        full = (folder / around).path
        if not (options.pathology and options.modality):
            told = "a DICOM series, whose labels are not known: give pathology and modality as options, or list it"
            rejected.append(Rejected(full, f"{full}: {told} in a manifest", "label"))
            continue
        subject = around.split("/")[0] or folder.name
        pathology, modality = Pathology(options.pathology), Modality(options.modality)
        scans.append(Scan(full, subject, "", folder.name, pathology, modality, "unknown"))
    paths = frozenset(path for group in series.values() for path in group)
    return ClaimedFiles("DICOM series", paths, tuple(scans), tuple(rejected))


def is_dicom(file: Location) -> bool:
    """Whether a file has the mark `DICM` behind its preamble of 128 bytes (DICOM PS3.10, section 7.1)."""
    try:
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            return bool(stream.read(132)[128:] == b"DICM")
    except OSError:
        return False


def _may_be_dicom(name: str) -> bool:
    suffix = posixpath.splitext(name)[1].casefold()
    return name != "DICOMDIR" and (suffix in _SUFFIXES or suffix[1:].isdigit())
