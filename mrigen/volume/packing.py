"""The bytes of a file that may be compressed by gzip, read in order and in bounded pieces."""

from __future__ import annotations

import contextlib
import gzip
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mrigen.volume.scan import VolumeError

GZIP_MAGIC = b"\x1f\x8b"
MAX_PADDING_BYTES = 4096
"""What may follow the last voxel: no more than fills up a disk block."""
_CHUNK = 1 << 18


@contextlib.contextmanager
def open_packed(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a regular file, unpacked where they are compressed, whatever its name.

    Faults that come up while they are read are told as VolumeError. Nothing but a regular file is opened, since
    opening a FIFO waits for its writer.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise VolumeError(f"{path}: {getattr(error, 'strerror', None) or error}", "missing") from None
    if not stat.S_ISREG(mode):
        raise VolumeError(f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}", "missing")
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            file.seek(0)
            if not magic:
                raise VolumeError(f"{path}: empty file", "truncated")
            if magic == GZIP_MAGIC:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream  # type: ignore[misc]
            elif path.suffix == ".gz":
                raise VolumeError(f"{path}: named .gz but not compressed by gzip")
            else:
                yield file
    except EOFError:
        raise VolumeError(f"{path}: truncated: the compressed data end too early", "truncated") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: damaged: {error}", "truncated") from None
    except OSError as error:
        raise VolumeError(f"{path}: cannot be read: {error.strerror or error}", "missing") from None


def read_exactly(stream: IO[bytes], count: int, path: Path) -> bytes:
    """The next `count` bytes. Raises VolumeError if there are fewer."""
    data = stream.read(count)
    if len(data) < count:
        raise VolumeError(f"{path}: truncated: {count - len(data)} bytes or more are missing", "truncated")
    return data


def skip(stream: IO[bytes], count: int, path: Path) -> None:
    """Pass over the next `count` bytes. Raises VolumeError if there are fewer."""
    while count > 0:
        count -= len(read_exactly(stream, min(count, _CHUNK), path))


def expect_end(stream: IO[bytes], path: Path) -> None:
    """Read to the end, which is what makes gzip compare its checksum. Raises VolumeError if it is not near."""
    if len(stream.read(MAX_PADDING_BYTES + 1)) > MAX_PADDING_BYTES:
        raise VolumeError(f"{path}: more data than its header claims")
