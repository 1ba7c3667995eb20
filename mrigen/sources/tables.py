"""Tables that users have: CSV, TSV or Parquet, as rows of text."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq

from mrigen.errors import InputError
from mrigen.storage import Location

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_HEADER_BYTES = 1 << 16


def read_rows(file: Location) -> list[dict[str, str]]:
    """Rows of a table with a header; missing fields are empty. CSV unless named otherwise.

    Quotes that make no sense are text in a TSV, whose cells need none, as in tables of BIDS.

    Raises InputError if the file is no such table, or no text in UTF-8; with the line where a quote of a CSV is not
    closed, a row has more cells than there are columns, or a NUL stands.
    """
    if file.path.casefold().endswith(".parquet"):
        try:
            with file.filesystem.open_input_file(file.path) as stream:
                rows = pq.read_table(stream).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a Parquet table: {' '.join(str(error).split())[:200]}") from None
        return [{str(key): "" if value is None else str(value).strip() for key, value in row.items()} for row in rows]
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not a table in UTF-8, save it as such: {error}") from None
    (_, header), *lines = _lines(text, file) or [(1, [])]
    names = [name.strip() for name in header]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise InputError(f"{file}: two columns are named {twice!r}")
    for number, cells in lines:
        if surplus := "".join(cells[len(names) :]).strip():
            told = f"{len(cells)} cells, but {len(names)} columns"
            raise InputError(f"{file}, line {number}: {told}: {surplus[:80]!r} is of none; quote a text with commas")
    padded = ([*cells, *[""] * len(names)] for _, cells in lines)
    return [{name: cell.strip() for name, cell in zip(names, cells, strict=False) if name} for cells in padded]


def _lines(text: str, file: Location) -> list[tuple[int, list[str]]]:
    """The cells of each row that has any, and the line that it begins on."""
    if "\0" in text:
        number = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{file}, line {number}: a NUL character: save it as text in UTF-8")
    found, number, delimiter = [], 1, _delimiter(file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if cells:
                found.append((number, cells))
            number = reader.line_num + 1
    except csv.Error as error:
        if delimiter == "\t":
            lines = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, quoting=csv.QUOTE_NONE)
            return [(number, cells) for number, cells in enumerate(lines, start=1) if cells]
        raise InputError(f"{file}, line {number}: a quote is not closed, or not where a cell ends: {error}") from None
    return found


def read_header(file: Location) -> tuple[str, ...]:
    """The names of a table's columns, without reading its rows; none if the file is no table."""
    try:
        if file.path.casefold().endswith(".parquet"):
            with file.filesystem.open_input_file(file.path) as stream:
                return tuple(pq.read_schema(stream).names)
        with file.filesystem.open_input_stream(file.path, compression=None) as stream:
            text = stream.read(_HEADER_BYTES).decode("utf-8-sig", "ignore")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(file))
        return tuple(name.strip() for name in next(lines, ()))
    except (pa.ArrowException, OSError, csv.Error):
        return ()


def _delimiter(file: Location) -> str:
    return "\t" if file.path.casefold().endswith(".tsv") else ","
