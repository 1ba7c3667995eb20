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
    """Rows of a table with a header; missing fields are empty, surplus ones dropped. CSV unless named otherwise.

    Raises InputError if the file is no such table, or no text in UTF-8.
    """
    if file.path.casefold().endswith(".parquet"):
        try:
            with file.filesystem.open_input_file(file.path) as stream:
                rows = pq.read_table(stream).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a Parquet table: {_one_line(error)}") from None
        return [{str(key): "" if value is None else str(value).strip() for key, value in row.items()} for row in rows]
    try:
        text = file.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(file), restkey="", restval="")
        names = [name.strip() for name in reader.fieldnames or () if name]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"{file}: two columns are named {twice!r}")
        return [{key.strip(): str(value).strip() for key, value in row.items() if key} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not a table in UTF-8, save it as such: {error}") from None


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
