"""BIDS trees: names of our own files, and a user's tree -> a table of scans.

Labels come from `participants.tsv`, contrasts from the suffix and the `ce` entity.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import bids2table

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.scans import Rejected, Scan, ScanTable, nifti_files
from mrigen.storage import Location

SUFFIXES = {
    Modality.T1W: "T1w",
    Modality.T1CE: "T1w",
    Modality.T2W: "T2w",
    Modality.FLAIR: "FLAIR",
    Modality.PD: "PDw",
}
LABEL_COLUMNS = ("pathology", "diagnosis", "group", "dx")
_NOT_RAW = ("derivatives", "sourcedata", "code")


def bids_path(subject: str, modality: Modality, *, description: str | None = None, session: str | None = None) -> str:
    """Path of a `.nii.gz` image within a BIDS tree; contrast-enhanced T1w carries `ce-gadolinium`.

    Raises:
        ValueError: if a label holds anything but letters and digits.
    """
    labels = {"sub": subject, "ses": session, "ce": "gadolinium" if modality is Modality.T1CE else None}
    entities = {**labels, "desc": description}
    for key, label in entities.items():
        if label is not None and not re.fullmatch(r"[a-zA-Z0-9]+", label):
            raise ValueError(f"BIDS label {key}-{label!r} may hold letters and digits only")
    name = "_".join([*(f"{key}-{label}" for key, label in entities.items() if label), SUFFIXES[modality]])
    folder = f"sub-{subject}/" + (f"ses-{session}/" if session else "")
    return f"{folder}anat/{name}.nii.gz"


def is_bids(root: Location) -> bool:
    """Whether a folder looks like a BIDS tree: a description of the data set, or a table of participants."""
    return (root / "dataset_description.json").is_file() or (root / "participants.tsv").is_file()


def find_bids_scans(root: Location) -> ScanTable:
    """The anatomical scans of a BIDS tree that are T1w, T1ce, T2w, FLAIR or PD.

    Raises:
        InputError: if `participants.tsv` is missing, or has no column that tells the pathology.
    """
    labels, column = _participant_labels(root / "participants.tsv")
    name, licence = _describe(root)
    scans: list[Scan] = []
    rejected: list[Rejected] = []
    for path in nifti_files(root):
        if path.split("/")[0] in _NOT_RAW:
            continue
        entities: dict[str, Any] = bids2table.parse_bids_entities(path)
        modality = _modality(entities)
        if modality is None or "sub" not in entities:
            continue
        subject = str(entities["sub"])
        full = (root / path).path
        label = labels.get(subject)
        if label is None:
            rejected.append(Rejected(full, f"sub-{subject} is not in participants.tsv", "label"))
            continue
        try:
            pathology = Pathology.parse(label)
        except InputError as error:
            rejected.append(Rejected(full, f"participants.tsv, column {column}, sub-{subject}: {error}", "label"))
            continue
        session = str(entities.get("ses") or "")
        scans.append(Scan(full, subject, session, name, pathology, modality, licence))
    return ScanTable("a BIDS tree", tuple(scans), tuple(rejected))


def _modality(entities: dict[str, Any]) -> Modality | None:
    if entities.get("datatype") != "anat":
        return None
    suffix = entities.get("suffix")
    if suffix == "T1w":
        return Modality.T1CE if entities.get("ce") else Modality.T1W
    return {"T2w": Modality.T2W, "FLAIR": Modality.FLAIR, "PDw": Modality.PD}.get(str(suffix))


def _participant_labels(file: Location) -> tuple[dict[str, str], str]:
    """Subject (without `sub-`) -> what the table says ails it, and the column that said it."""
    if not file.is_file():
        raise InputError(f"{file}: missing: a BIDS tree needs it, with a column {' or '.join(LABEL_COLUMNS[:3])}")
    rows = read_rows(file, "\t")
    header = {str(key).strip().casefold(): key for key in (rows[0] if rows else {})}
    column = next((name for name in LABEL_COLUMNS if name in header), None)
    if "participant_id" not in header or column is None:
        raise InputError(
            f"{file}: columns {', '.join(map(str, header.values())) or 'none'}: it needs participant_id and one of "
            f"{', '.join(LABEL_COLUMNS)}, which tells the pathology"
        )
    identity, told = header["participant_id"], header[column]
    return {row[identity].removeprefix("sub-"): row[told] for row in rows}, column


def _describe(root: Location) -> tuple[str, str]:
    """Name and licence of the data set; the folder's name where the description has none."""
    file = root / "dataset_description.json"
    tree = file.read_json() if file.is_file() else {}
    if not isinstance(tree, dict):
        raise InputError(f"{file}: must hold a JSON object")
    return str(tree.get("Name") or root.name), str(tree.get("License") or "unknown")


def read_rows(file: Location, delimiter: str) -> list[dict[str, str]]:
    """Rows of a table in UTF-8 with a header line; missing fields are empty, surplus ones dropped.

    Raises:
        InputError: if the file is not text.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
        return [{key: str(value).strip() for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a table in UTF-8: {error}") from None
