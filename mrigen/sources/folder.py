"""A folder of images in no known layout: labels are those that the user gives, for all or by the places of a name."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable, Mapping

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.label_tables import UserLabels, interpret, named_table
from mrigen.sources.listing import is_scan_name
from mrigen.sources.options import SourceOptions
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan
from mrigen.storage import Location

_PLACES = {"subject": "[^/]+", "session": "[^/_]+", "modality": "[^/_]+", "pathology": "[^/_]+"}

_MASK = re.compile(
    r"(?:^|[-_. ])(?:\w*mask|d?seg|segm?|\w*segmentation|labels?|lesions?|rois?|aseg|aparc\w*)(?=[-_. +]|$)",
    re.IGNORECASE,
)


def find_folder_scans(folder: Location, files: Iterable[str], options: SourceOptions) -> ClaimedFiles:
    """Every image among `files`, paths relative to `folder`, but for those that are named like masks.

    Pathology and modality are told by the options, a table, or `options.pattern`.
    Without a pattern the subject is the first folder below the source, or the name of a file that lies in none.

    Raises InputError if the pattern is none, or nothing tells the pathology or the modality.
    """
    pattern = None if options.pattern is None else _compile(options.pattern)
    places = pattern.groupindex if pattern else {}
    table = UserLabels(named_table(folder, options.table), options) if options.table else None
    if not (options.pathology or table or "pathology" in places):
        raise InputError(f"{folder}: name its pathology: by pathology=, table=, or {{pathology}} in pattern=")
    if not (options.modality or "modality" in places):
        raise InputError(f"{folder}: name its modality: by modality=, or {{modality}} in pattern=")
    paths = sorted(filter(is_scan_name, files))
    claim = ClaimedFiles("images with labels given", set(paths))
    for path in paths:
        full = (folder / path).path
        if _MASK.search(posixpath.basename(path)):
            claim.notes["left out as masks by their names"] += 1
            continue
        groups = {"subject": _subject(path), "session": ""}
        if pattern:
            if not (found := pattern.search(path)):
                claim.rejected.append(Rejected.because(full, f"its name does not fit {options.pattern!r}", "name"))
                continue
            groups |= found.groupdict()
        try:
            modality = Modality(options.modality) if options.modality else Modality.parse(groups["modality"])
        except InputError as error:
            claim.rejected.append(Rejected.because(full, error, "label"))
            continue
        if not (pathology := claim.pathology(full, functools.partial(_pathology, groups, table, options))):
            continue
        orientation = options.orientation or "" if path.casefold().endswith(".hdr") else ""
        subject, session = groups["subject"].removeprefix("sub-"), groups["session"].removeprefix("ses-")
        claim.scans.append(
            Scan(full, subject, session, folder.name, pathology, modality, "unknown", orientation=orientation)
        )
    subjects = sorted({scan.subject for scan in claim.scans})
    if subjects:
        plural = "" if len(subjects) == 1 else "s"
        claim.kind += f", {len(subjects)} subject{plural} such as {subjects[0]}"
    return claim


def _compile(text: str) -> re.Pattern[str]:
    """The regular expression of a pattern: from the start of a folder's or file's name to the end of the path."""
    expression = ""
    for place, star, literal in re.findall(r"\{([^{}]*)\}|(\*)|([^{}*]+|[{}])", text):
        if star:
            expression += "[^/]*"
        elif literal:
            expression += re.escape(literal)
        elif place not in _PLACES:
            known = ", ".join(f"{{{name}}}" for name in _PLACES)
            raise InputError(f"source option pattern {text!r}: unknown place {{{place}}}; known are {known}, and *")
        else:
            again = f"(?P<{place}>" in expression
            expression += f"(?P={place})" if again else f"(?P<{place}>{_PLACES[place]})"
    if "(?P<subject>" not in expression:
        raise InputError(
            f"source option pattern {text!r}: it needs {{subject}}, such as {{subject}}_{{modality}}.nii.gz"
        )
    return re.compile(f"(?:^|/){expression}$")


def _subject(path: str) -> str:
    first, slash, _ = path.partition("/")
    return first if slash else re.sub(r"\.(nii|nii\.gz|hdr)$", "", posixpath.basename(path), flags=re.IGNORECASE)


def _pathology(groups: Mapping[str, str], table: UserLabels | None, options: SourceOptions) -> Pathology | None:
    if options.pathology:
        return Pathology(options.pathology)
    return table(groups) if table else interpret(groups["pathology"], options)
