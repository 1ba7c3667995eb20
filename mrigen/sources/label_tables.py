"""Pathology and split from tables: which row tells of a scan, and what its words mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from mrigen.errors import InputError
from mrigen.labels import Pathology
from mrigen.records import SPLITS
from mrigen.sources.options import SKIP, SourceOptions
from mrigen.sources.tables import read_rows
from mrigen.storage import Location

LABEL_COLUMNS = ("pathology", "diagnosis", "group", "dx")
SITE_COLUMNS = ("site", "site_id")
SUBJECT_COLUMNS = ("participant_id", "subject", "subject_id", "patient", "patient_id", "id")
_NOTHING = ("", "n/a", "na", "nan", "none")


def pathology_of_cdr(text: str) -> Pathology:
    """Healthy for a Clinical Dementia Rating of 0, Dementia from 0.5 (Morris 1993). Raises InputError."""
    try:
        rating = float(text)
    except ValueError:
        rating = -1.0
    if rating not in (0.0, 0.5, 1.0, 2.0, 3.0):
        raise InputError(f"{text[:80]!r} is no Clinical Dementia Rating")
    return Pathology.DEMENTIA if rating else Pathology.HEALTHY


@dataclass(frozen=True)
class LabelTable:
    """Where a data set tells what ails its subjects."""

    file: str
    """A regular expression for the table's name, of any case."""
    keys: Mapping[str, str]
    """Column -> what stands there, made of the groups of the scan's name; columns that the table lacks do not count."""
    column: str
    parse: Callable[[str], Pathology] = Pathology.parse
    day: str = ""
    """Column of days: of a subject's rows the one nearest to the day that the session's name tells."""


def interpret(
    told: str, options: SourceOptions, parse: Callable[[str], Pathology] = Pathology.parse
) -> Pathology | None:
    """What a table's word means: by the user's map, else by `parse`; None for what is to be skipped.

    Raises InputError if nobody knows, with the remedy.
    """
    meaning = {key.casefold(): value for key, value in options.values.items()}
    nothing = told.casefold() in _NOTHING
    known = meaning.get(told.casefold(), meaning.get("") if nothing else None)
    if known is not None:
        return None if known == SKIP else Pathology.parse(known)
    try:
        if nothing:
            raise InputError("the value is empty")
        return parse(told)
    except InputError as error:
        key = "" if nothing else told[:80]
        raise InputError(f"{error}; say what it means by values.{key}=PATHOLOGY, or values.{key}={SKIP}") from None


class Labels:
    """A table of labels, read. Lookups raise InputError with the table's name, the column and the value."""

    def __init__(self, file: Location, table: LabelTable, options: SourceOptions) -> None:
        self.file, self.table, self.options = file, table, options
        rows = read_rows(file)
        header = rows[0] if rows else {}
        self.keys = {name: value for name, value in table.keys.items() if name in header}
        if not self.keys or table.column not in header or (table.day and table.day not in header):
            needed = [*table.keys, table.column, *filter(None, [table.day])]
            raise InputError(f"{file}: columns {', '.join(header) or 'none'}: it needs {', '.join(needed)}")
        self._rows: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in rows:
            self._rows.setdefault(tuple(row[name] for name in self.keys), []).append(row)

    def __call__(self, groups: Mapping[str, str]) -> Pathology | None:
        """The pathology of the scan whose name has these groups, or None if it is to be skipped."""
        key = tuple(template.format_map(groups) for template in self.keys.values())
        rows = self._rows.get(key)
        if not rows:
            raise InputError(f"{self.file.name} has no row with {self._told(key)}")
        if self.table.day:
            rows = [row for row in rows if row[self.table.column].casefold() not in _NOTHING] or rows
            row = _nearest(rows, self.table.day, groups["session"])
        elif len({row[self.table.column] for row in rows}) == 1:
            row = rows[0]
        else:
            self._fail(f"rows of {self._told(key)} contradict each other")
        try:
            return interpret(row[self.table.column], self.options, self.table.parse)
        except InputError as error:
            self._fail(f"{self._told(key)}: {error}")

    def _told(self, key: Sequence[str]) -> str:
        return ", ".join(f"{name} {value}" for name, value in zip(self.keys, key, strict=True))

    def _fail(self, message: str) -> NoReturn:
        raise InputError(f"{self.file.name}, column {self.table.column}, {message}") from None


def _nearest(rows: Sequence[dict[str, str]], column: str, session: str) -> dict[str, str]:
    """The row whose day is nearest to a session such as `d0129`; of two the earlier."""
    day = int("".join(filter(str.isdigit, session)) or 0)

    def distance(row: dict[str, str]) -> tuple[float, float]:
        try:
            told = float(row[column])
        except ValueError:
            return float("inf"), 0.0
        return abs(told - day), told

    return min(rows, key=distance)


def find_column(header: Mapping[str, object] | Sequence[str], known: Sequence[str]) -> str | None:
    """The column that has the first of the `known` names, in any case."""
    by_name = {name.strip().casefold(): name for name in header}
    return next((by_name[name] for name in known if name in by_name), None)


def read_sites(file: Location) -> dict[str, str]:
    """Subject -> its site, of those that a table of participants tells the site of; several are joined by `or`."""
    rows = read_rows(file) if file.is_file() else []
    header = rows[0] if rows else {}
    subject, column = find_column(header, SUBJECT_COLUMNS), find_column(header, SITE_COLUMNS)
    if subject is None or column is None:
        return {}
    sites: dict[str, set[str]] = {}
    for row in rows:
        if row[column].casefold() not in _NOTHING:
            sites.setdefault(row[subject].removeprefix("sub-"), set()).add(row[column])
    return {name: " or ".join(sorted(found)) for name, found in sites.items()}


class UserLabels:
    """A table that the user named: a row a subject, known by its name with or without `sub-`."""

    def __init__(self, file: Location, options: SourceOptions) -> None:
        self.file, self.options = file, options
        rows = read_rows(file)
        header = rows[0] if rows else {}
        subject = options.subject_column or find_column(header, SUBJECT_COLUMNS)
        column = options.pathology_column or find_column(header, LABEL_COLUMNS)
        if subject not in header or column not in header:
            needed = f"{subject or ' or '.join(SUBJECT_COLUMNS[:3])} and {column or ' or '.join(LABEL_COLUMNS)}"
            raise InputError(
                f"{file}: columns {', '.join(header) or 'none'}: it needs {needed}: "
                "name others by subject_column and pathology_column"
            )
        assert subject is not None
        assert column is not None
        self.column = column
        self._told: dict[str, set[str]] = {}
        for row in rows:
            self._told.setdefault(row[subject].removeprefix("sub-"), set()).add(row[column])

    def __call__(self, groups: Mapping[str, str]) -> Pathology | None:
        """The pathology of the scan whose name has the groups `subject` and `session`, or None if it is skipped."""
        subject = groups["subject"].removeprefix("sub-")
        names = (f"{subject}_{groups['session']}", f"{subject}-{groups['session']}", subject)
        name = next((name for name in names if name in self._told), None)
        if name is None:
            raise InputError(f"{subject} is not in {self.file.name}")
        told = sorted(self._told[name])
        try:
            if len(told) > 1:
                raise InputError(f"rows contradict each other: {', '.join(told)[:80]}")
            return interpret(told[0], self.options)
        except InputError as error:
            raise InputError(f"{self.file.name}, column {self.column}, {name}: {error}") from None


def named_table(place: Location, name: str) -> Location:
    """The table that an option names: a name within the source, or beside it if that is a table itself, or a path.

    Raises InputError if it is missing.
    """
    folder, elsewhere = place.parent if place.is_file() else place, Location.parse(name)
    for file in (folder / name, elsewhere):
        if file.is_file():
            return file
    raise InputError(f"table {name!r}: no such file in {folder}, nor {elsewhere}")


def read_splits_table(file: Location, options: SourceOptions) -> dict[str, str]:
    """Subject -> train, val or test, of those that a table tells the split of.

    Raises InputError if it lacks a column, a word is none of these, or rows contradict each other.
    """
    rows = read_rows(file)
    header = rows[0] if rows else {}
    subject = find_column(header, [(options.subject_column or "").casefold(), *SUBJECT_COLUMNS])
    column = find_column(header, ["split"])
    if subject is None or column is None:
        needed = f"split and {' or '.join(SUBJECT_COLUMNS[:3])}"
        raise InputError(f"{file}: columns {', '.join(header) or 'none'}: it needs {needed}")
    splits: dict[str, str] = {}
    for row in rows:
        name, split = row[subject].removeprefix("sub-"), row[column].casefold()
        if split in _NOTHING:
            continue
        if split not in SPLITS:
            raise InputError(f"{file}, {name}: split {row[column][:80]!r} is none of {', '.join(SPLITS)}")
        if splits.setdefault(name, split) != split:
            raise InputError(f"{file}, {name}: rows contradict each other: {splits[name]}, {split}")
    return splits
