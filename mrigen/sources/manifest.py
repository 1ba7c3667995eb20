"""A user's own table of scans: CSV, TSV or Parquet with the columns path, subject, pathology, modality."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.label_tables import interpret
from mrigen.sources.options import ORIENTATIONS, SourceOptions
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan
from mrigen.sources.tables import TABLE_SUFFIXES, read_header, read_rows
from mrigen.storage import Location

REQUIRED = ("path", "subject", "pathology", "modality")
OPTIONAL = ("session", "source", "licence", "mask", "lesions", "frame", "orientation")
_MAY_FOLLOW = f"{','.join(OPTIONAL)} may follow"
_WRONG_MARKS = {";": "semicolons", "\t": "tabs", ",": "commas", " ": "blanks"}


def is_manifest(file: Location) -> bool:
    """Whether a file is a table with the columns of a manifest."""
    return file.path.casefold().endswith(TABLE_SUFFIXES) and set(REQUIRED) <= set(read_header(file))


def find_manifest_scans(file: Location, options: SourceOptions) -> ClaimedFiles:
    """The scans that a manifest lists. Relative paths are taken from the manifest's folder.

    A path may be a NIfTI file, either file of a pair, the folder of a DICOM series, or the URI of one of these. A row
    with an unknown label or without a path or subject, and a scan listed again, is left out with its line; under other
    labels, both are. What the options say of pathology, modality and words goes before what the table says.

    Raises InputError if a column is missing or unknown, or there is no row.
    """
    rows = read_rows(file)
    if not rows:
        raise InputError(f"{file}: no rows: a manifest has the columns {','.join(REQUIRED)} and a line for each scan")
    missing = [name for name in REQUIRED if name not in rows[0]]
    unknown = [name for name in rows[0] if name not in REQUIRED + OPTIONAL]
    if missing or unknown:
        fault = f"no column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}"
        mark = next((mark for mark in _WRONG_MARKS if len(rows[0]) == 1 and mark in next(iter(rows[0]))), None)
        if mark:
            rightly = "tabs" if file.path.casefold().endswith(".tsv") else "commas"
            fault = f"its columns are parted by {_WRONG_MARKS[mark]}: save it with {rightly}"
        there = ", ".join(map(repr, rows[0]))
        raise InputError(f"{file}: {fault}: found are {there}; needed are {','.join(REQUIRED)}; {_MAY_FOLLOW}")
    claim = ClaimedFiles("a manifest", set())
    listed: dict[tuple[str, int | None], tuple[int, Scan]] = {}
    contradicted: set[tuple[str, int | None]] = set()
    for number, row in enumerate(rows, start=2):
        try:
            scan = _scan(file, row, options)
        except InputError as error:
            path = "" if "://" in row["path"] else _path(file, row["path"])
            claim.rejected.append(Rejected(path, f"{file.name}, row {number}: {error}", "label"))
            continue
        if scan is None:
            continue
        key = scan.path, scan.frame
        before, other = listed.setdefault(key, (number, scan))
        if other is scan:
            continue
        told = f"{file.name}, row {number}: the file is listed before"
        if (scan.pathology, scan.modality) == (other.pathology, other.modality):
            claim.rejected.append(Rejected(scan.path, told, "duplicate"))
            continue
        labels = f"{scan.pathology} {scan.modality} here, {other.pathology} {other.modality} in row {before}"
        claim.rejected.append(Rejected(scan.path, f"{told}, with other labels: {labels}: none is used", "label"))
        contradicted.add(key)
    claim.scans.extend(scan for key, (_, scan) in listed.items() if key not in contradicted)
    return claim


def _path(file: Location, told: str) -> str:
    """A path on the manifest's storage, or the URI of a file elsewhere; of a pair, that of its header.

    Raises InputError for a URI that no storage has.
    """
    if not told:
        return ""
    told = re.sub(r"\.img(\.gz)?$", ".hdr", told, flags=re.IGNORECASE)
    if "://" not in told:
        return str(PurePosixPath(file.path).parent / told)
    place = Location.parse(told)
    return place.path if place.filesystem == file.filesystem else told


def _scan(file: Location, row: dict[str, str], options: SourceOptions) -> Scan | None:
    """The scan of a row, or None if its pathology is to be skipped."""
    for name in ("path", "subject"):
        if not row[name]:
            raise InputError(f"{name} is empty")
    frame, orientation = row.get("frame") or "", (row.get("orientation") or "").upper()
    if frame and not re.fullmatch(r"\d{1,4}(\.0)?", frame):
        raise InputError(f"frame {frame[:80]!r} is no place along the fourth axis, such as 0")
    if orientation and not re.fullmatch(ORIENTATIONS, orientation):
        raise InputError(f"orientation {orientation[:80]!r} does not name three axes, such as LAS")
    pathology = Pathology(options.pathology) if options.pathology else interpret(row["pathology"], options)
    if pathology is None:
        return None
    path = _path(file, row["path"])
    return Scan(
        path=path,
        subject=row["subject"].removeprefix("sub-"),
        session=row.get("session") or "",
        source=row.get("source") or PurePosixPath(file.name).stem,
        pathology=pathology,
        modality=Modality(options.modality) if options.modality else Modality.parse(row["modality"]),
        licence=row.get("licence") or "unknown",
        frame=int(float(frame)) if frame else None,
        mask=_path(file, row.get("mask") or ""),
        lesions=_path(file, row.get("lesions") or ""),
        orientation=orientation or (options.orientation or "" if path.endswith(".hdr") else ""),
    )
