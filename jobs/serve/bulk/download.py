"""A data set as one file, made while it is sent: as a zip archive, or as one Parquet table."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.serve.files import zip_entry
from mrigen.records import read_file
from mrigen.storage import CHUNK, Location

_PACKED = (".gz", ".png", ".parquet")


class _Sink(io.RawIOBase):
    """A file that is written to, and whose content is taken away piece by piece."""

    def __init__(self) -> None:
        self._held, self._taken = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(memoryview(data))  # type: ignore[arg-type]
        self._held += piece
        return len(piece)

    def tell(self) -> int:
        return self._taken + len(self._held)

    def take(self, least: int = 1) -> Iterator[bytes]:
        """What is held, if that is enough to be worth it."""
        if len(self._held) >= least:
            piece = bytes(self._held)
            self._taken += len(piece)
            self._held.clear()
            yield piece


def zip_of(folder: Location) -> Iterator[bytes]:
    """All files of a data set, below `samples/`; the same data set gives the same bytes."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as zipped:
        for file in folder.files():
            name = PurePosixPath(file.path).relative_to(folder.path)
            packed = file.path.endswith(_PACKED)
            kind = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            zipped.writestr(zip_entry(f"samples/{name}"), file.read_bytes(), kind)
            yield from sink.take(CHUNK)
    yield from sink.take()


def parquet_of(folder: Location) -> Iterator[bytes]:
    """The manifest of a data set, images and all, as one file with a row group a shard. What an earlier version did not
    tell of its part is null."""
    sink = _Sink()
    parts = (folder / "manifest").files(".parquet")
    empty = pa.unify_schemas([_schema(part) for part in parts]).empty_table()
    out = pa.PythonFile(sink, mode="w")
    with pq.ParquetWriter(out, empty.schema, compression="zstd", write_page_checksum=True) as writer:
        for part in parts:
            table = read_file(part).replace_schema_metadata(None)
            writer.write_table(pa.concat_tables([empty, table], promote_options="default"))
            yield from sink.take(CHUNK)
    yield from sink.take()


def _schema(part: Location) -> pa.Schema:
    with part.filesystem.open_input_file(part.path) as stream:
        return pq.read_schema(stream).remove_metadata()
