"""A user's BIDS tree -> a table of scans.

Labels come from `participants.tsv` and tables of sessions, contrasts from the suffix and the `ce` entity.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence

from mrigen.bids_names import SUFFIXES
from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.label_tables import LABEL_COLUMNS, UserLabels, find_column, interpret, named_table, read_sites
from mrigen.sources.listing import is_scan_name
from mrigen.sources.options import SourceOptions
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan
from mrigen.sources.tables import read_rows
from mrigen.storage import Location

MARKS = ("dataset_description.json", "participants.tsv")
NOT_RAW = ("derivatives", "sourcedata", "code")

_CONTRASTS = {suffix: modality for modality, suffix in SUFFIXES.items() if modality is not Modality.T1CE}
_IN_ANAT = re.compile(r"sub-[a-zA-Z0-9]+/(?:ses-[a-zA-Z0-9]+/)?anat/")
_ANAT = re.compile(r"(?:^|/)anat/[^/]*_([a-zA-Z0-9]+)\.(?:nii|nii\.gz|hdr)$", re.IGNORECASE)
_NO_CONTRASTS = ("mask", "dseg", "probseg", "seg", "roi", "defacemask")
"""Suffixes of what lies with scans and is none."""

_LESIONS = re.compile(
    r"(?:derivatives/[^/]+/)?sub-(?P<subject>[^/_]+)/(?:ses-(?P<session>[^/_]+)/)?anat/"
    r"(?!.*_space-)[^/]*_(?:desc|label)-lesions?(?:_[^/]*)?_(?:mask|roi|d?seg)\.nii(?:\.gz)?"
)
"""Masks of lesions in the space of the subject's own scans: where `space` is named, it is another."""


def bids_roots(files: Iterable[str]) -> tuple[str, ...]:
    """The BIDS trees among some paths, `""` for the top: folders with a description or a table of participants.

    A tree within another's derivatives, source data or code is none of its own.
    """
    marks = {posixpath.dirname(path) for path in files if posixpath.basename(path) in MARKS}
    roots: list[str] = []
    for root in sorted(marks, key=lambda path: (path.count("/") + bool(path), path)):
        not_raw = tuple(posixpath.join(above, name, "") for above in roots for name in NOT_RAW)
        if not f"{root}/".startswith(not_raw):
            roots.append(root)
    return tuple(roots)


def find_bids_scans(root: Location, files: Iterable[str], options: SourceOptions) -> ClaimedFiles:
    """The anatomical scans of a BIDS tree that are T1w, T1ce, T2w, FLAIR or PD; `files` are paths relative to the root.

    The pathology is that of the session in `sub-*/sub-*_sessions.tsv` where that tells one, else that of the subject in
    `participants.tsv`. A site that this tells makes a source of its own: `NAME, site SITE`.

    Raises InputError if no table tells the pathology.
    """
    files = tuple(files)
    label = _labeller(root, files, options)
    name, licence = _describe(root)
    sites = read_sites(root / "participants.tsv")
    mine = {path for path in files if path.startswith(("sub-", *(f"{name}/" for name in NOT_RAW)))}
    found = _find_lesions(mine)
    lesions = {place: paths[0] for place, paths in found.items() if len(paths) == 1}
    masks = [(root / path).path for path in sorted(path for paths in found.values() for path in paths)]
    claim = ClaimedFiles("a BIDS tree", mine, masks=masks)
    if several := len(masks) - len(lesions):
        claim.notes["masks of which a subject has several, so that none is taken"] = several
    for path in sorted(filter(is_scan_name, mine)):
        if not path.startswith("sub-") or _LESIONS.fullmatch(path):
            continue
        entities, modality = _read_name(path)
        full = (root / path).path
        if modality is None or "sub" not in entities:
            if told := _misnamed(path):
                claim.rejected.append(Rejected.because(full, told, "name"))
            else:
                claim.notes["other files left out"] += 1
            continue
        subject, session = entities["sub"], entities.get("ses", "")
        if not (pathology := claim.pathology(full, functools.partial(label, subject, session))):
            continue
        mask = lesions.get((subject, session), "")
        claim.scans.append(
            Scan(
                full,
                subject,
                session,
                source=f"{name}, site {sites[subject]}" if subject in sites else name,
                pathology=pathology,
                modality=Modality(options.modality or modality),
                licence=licence,
                lesions=(root / mask).path if mask else "",
                orientation=options.orientation or "" if path.endswith(".hdr") else "",
            )
        )
    return claim


def _find_lesions(files: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """The masks of lesions of each subject and session; of several nobody can tell which to take."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(files):
        if match := _LESIONS.fullmatch(path):
            found.setdefault((match["subject"], match["session"] or ""), []).append(path)
    return found


def _read_name(path: str) -> tuple[dict[str, str], Modality | None]:
    """The `key-value` entities of a file's name, and its contrast: None if it is no anatomical scan that we know."""
    *pairs, last = posixpath.basename(path).split("_")
    entities = {key: value for key, dash, value in (pair.partition("-") for pair in pairs) if dash}
    modality = _CONTRASTS.get(last.partition(".")[0]) if _IN_ANAT.match(path) else None
    return entities, Modality.T1CE if modality is Modality.T1W and entities.get("ce") else modality


def _misnamed(path: str) -> str:
    """Why an anatomical scan is not taken for its name; empty if it is none."""
    other = _ANAT.search(path)
    if other and other[1].casefold() in map(str.casefold, _CONTRASTS):
        if other[1] not in _CONTRASTS:
            return f"the suffix {other[1]!r} is in odd case: BIDS has {', '.join(_CONTRASTS)}: rename it"
        return "BIDS labels hold letters and digits only, and names have small letters: rename it"
    if other and other[1].casefold() not in _NO_CONTRASTS:
        return f"the suffix {other[1]!r} is not taken: taken are {', '.join(_CONTRASTS)}; else list it in a manifest"
    return ""


def _labeller(root: Location, files: Sequence[str], options: SourceOptions) -> Callable[[str, str], Pathology | None]:
    """From a subject and a session, without `sub-` and `ses-`, to the pathology, or None if they are to be skipped."""
    if options.pathology:
        forced = Pathology(options.pathology)
        return lambda subject, session: forced
    if options.table:
        labels = UserLabels(named_table(root, options.table), options)
        return lambda subject, session: labels({"subject": subject, "session": session})
    return _Tables(root, files, options).pathology


class _Tables:
    """What a tree's own tables say of subjects and sessions."""

    def __init__(self, root: Location, files: Sequence[str], options: SourceOptions) -> None:
        self.options = options
        self._columns = (options.pathology_column,) if options.pathology_column else LABEL_COLUMNS
        # (subject, session) -> what is told, and where
        self._told: dict[tuple[str, str], tuple[str, str]] = {}
        self._contradicted: set[tuple[str, str]] = set()
        for path in files:
            if found := re.fullmatch(r"sub-([^/]+)/sub-\1_sessions\.tsv", path):
                self._add(root / path, "session_id", found[1])
        fault = self._add(root / "participants.tsv", "participant_id")
        if fault and not self._told:
            raise InputError(fault)

    def _add(self, file: Location, key: str, subject: str = "") -> str:
        """Take up a table of subjects, or of one subject's sessions; returns what is wrong with it."""
        needed = f"{key} and one of {', '.join(filter(None, self._columns))}, which tells the pathology"
        if not file.is_file():
            return f"{file}: missing: a BIDS tree needs it, with the columns {needed}"
        rows = read_rows(file)
        header = rows[0] if rows else {}
        identity = find_column(header, (key,))
        column = find_column(header, [str(name).casefold() for name in self._columns])
        if identity is None or column is None:
            return f"{file}: columns {', '.join(header) or 'none'}: it needs {needed}"
        for row in rows:
            place = (
                (subject, row[identity].removeprefix("ses-")) if subject else (row[identity].removeprefix("sub-"), "")
            )
            told = row[column], f"{file.name}, column {column}"
            if self._told.setdefault(place, told) != told:
                self._contradicted.add(place)
        return ""

    def pathology(self, subject: str, session: str) -> Pathology | None:
        """What is told of the session, else of the subject; None if it is to be skipped. Raises InputError."""
        place = (subject, session)
        if not self._told.get(place, ("", ""))[0] and (subject, "") in self._told:
            place = (subject, "")
        if place not in self._told:
            raise InputError(f"sub-{subject} is not in participants.tsv")
        told, where = self._told[place]
        if place in self._contradicted:
            raise InputError(f"{where}, sub-{subject}: rows contradict each other")
        try:
            return interpret(told, self.options)
        except InputError as error:
            raise InputError(f"{where}, sub-{subject}: {error}") from None


def _describe(root: Location) -> tuple[str, str]:
    """Name and licence of the data set; the folder's name where the description has none."""
    file = root / "dataset_description.json"
    tree = file.read_json() if file.is_file() else {}
    if not isinstance(tree, dict):
        raise InputError(f"{file}: must hold a JSON object")
    return str(tree.get("Name") or root.name), str(tree.get("License") or "unknown")
