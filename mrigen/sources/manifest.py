"""A user's own table of scans: a CSV (or TSV) file with the columns path, subject, pathology, modality."""

from __future__ import annotations

from pathlib import PurePosixPath

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.bids import read_rows
from mrigen.sources.scans import Rejected, Scan, ScanTable
from mrigen.storage import Location

REQUIRED = ("path", "subject", "pathology", "modality")
OPTIONAL = ("session", "source", "licence")


def find_manifest_scans(file: Location) -> ScanTable:
    """The scans that a manifest lists. Relative paths are taken from the manifest's folder.

    A row with an unknown label or without a path or subject, and a file listed again, is left out with its line.

    Raises:
        InputError: if a column is missing or unknown, or there is no row.
    """
    rows = read_rows(file, "\t" if file.path.endswith(".tsv") else ",")
    if not rows:
        raise InputError(f"{file}: no rows: a manifest has the columns {','.join(REQUIRED)} and a line for each scan")
    missing = [name for name in REQUIRED if name not in rows[0]]
    unknown = [name for name in rows[0] if name not in REQUIRED + OPTIONAL]
    if missing or unknown:
        fault = f"no column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}"
        raise InputError(f"{file}: {fault}: needed are {','.join(REQUIRED)}; {','.join(OPTIONAL)} may follow")
    scans: dict[str, Scan] = {}
    rejected: list[Rejected] = []
    for number, row in enumerate(rows, start=2):
        path = str(PurePosixPath(file.path).parent / row["path"]) if row["path"] else ""
        try:
            scan = _scan(row, path, default_source=PurePosixPath(file.name).stem)
        except InputError as error:
            rejected.append(Rejected(path, f"{file.name}, row {number}: {error}", "label"))
            continue
        if path in scans:
            rejected.append(Rejected(path, f"{file.name}, row {number}: the file is listed before", "duplicate"))
            continue
        scans[path] = scan
    return ScanTable("a manifest", tuple(scans.values()), tuple(rejected))


def _scan(row: dict[str, str], path: str, default_source: str) -> Scan:
    for name in ("path", "subject"):
        if not row[name]:
            raise InputError(f"{name} is empty")
    return Scan(
        path=path,
        subject=row["subject"].removeprefix("sub-"),
        session=row.get("session") or "",
        source=row.get("source") or default_source,
        pathology=Pathology.parse(row["pathology"]),
        modality=Modality.parse(row["modality"]),
        licence=row.get("licence") or "unknown",
    )
