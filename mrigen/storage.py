"""Files on any pyarrow filesystem, and how they are published whole.

On a local disk a file is written under a temporary name, synced and renamed; on an object store one
PUT makes it visible at once. A reader therefore sees a whole file or none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from mrigen.errors import InputError

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Faults of a full disk."""
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_TOLD = ("scheme", "endpoint_override", "region")


@dataclass(frozen=True)
class Location:
    """A file or folder: a filesystem and a path on it. Pickles, so that it travels to workers."""

    filesystem: pafs.FileSystem
    path: str
    query: str = ""
    """Of the URI it came from, for messages: where the store is, never what opens it."""

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> Self:
        """Read a local path (made absolute) or a URI that pyarrow knows, such as `s3://bucket/run`.

        Raises InputError for an unknown scheme, or a URI without a bucket.
        """
        raw = os.fspath(text)
        if not raw or "\0" in raw:
            raise InputError(f"{raw!r} is not a path")
        if "://" not in raw:
            return cls(pafs.LocalFileSystem(), str(Path(raw).expanduser().absolute()))
        try:
            filesystem, path = pafs.FileSystem.from_uri(raw)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            raise InputError(f"cannot use {raw!r} as storage: {' '.join(str(error).split())}") from None
        if not path:
            raise InputError(f"cannot use {raw!r} as storage: it names no bucket")
        told = [(name, value) for name, value in parse_qsl(urlsplit(raw).query) if name in _TOLD]
        return cls(filesystem, path, urlencode(told, safe=":"))

    def __truediv__(self, name: str) -> Location:
        return self.at(str(PurePosixPath(self.path) / name))

    def at(self, path: str) -> Location:
        """A path on the same filesystem, or wherever a URI leads."""
        return Location.parse(path) if "://" in path else replace(self, path=path)

    def __str__(self) -> str:
        if self.local:
            return self.path
        return f"{self.filesystem.type_name}://{self.path}{'?' if self.query else ''}{self.query}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> Location:
        """The folder that this is in."""
        return self.at(str(PurePosixPath(self.path).parent))

    @property
    def local(self) -> Path | None:
        """The path on this machine's disk, or None on an object store."""
        return Path(self.path) if isinstance(self.filesystem, pafs.LocalFileSystem) else None

    def _type(self) -> pafs.FileType:
        return self.filesystem.get_file_info(self.path).type

    def is_file(self) -> bool:
        """Whether a file stands here."""
        return bool(self._type() == pafs.FileType.File)

    def is_folder(self) -> bool:
        """Whether a folder stands here (on an object store: whether anything stands under it)."""
        return bool(self._type() == pafs.FileType.Directory)

    def require_writable(self) -> None:
        """Raises InputError where no file can be made in this folder, or in the nearest there is above it.

        An object store is not asked: what it allows, it tells at the first write.
        """
        local = self.local
        if local is None:
            return
        nearest = next(path for path in (local, *local.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            raise InputError(f"cannot write to {self}: {error.strerror}") from None

    def files(self, suffix: str = "") -> list[Location]:
        """The files below this folder, at any depth, by sorted path; none if there is no such folder."""
        selector = pafs.FileSelector(self.path, recursive=True, allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        paths = sorted(info.path for info in infos if info.type == pafs.FileType.File)
        kept = (path for path in paths if path.endswith(suffix) and not re.search(r"(^|/)\.[^/]*\.tmp$", path))
        return [self.at(path) for path in kept]

    # pyarrow would unpack `.gz` by its name; here a file is its bytes.

    def read_bytes(self) -> bytes:
        """The file's content. Raises FileNotFoundError."""
        with self.filesystem.open_input_stream(self.path, compression=None) as stream:
            return bytes(stream.read())

    def read_json(self) -> Any:
        """The file's content, parsed. Raises InputError that names the file if it is no JSON."""
        try:
            return json.loads(self.read_bytes())
        except ValueError:
            raise InputError(f"{self} is not JSON") from None

    def write_bytes(self, data: bytes) -> None:
        """Publish `data` here whole, replacing what stood here. Raises OSError that tells what a full disk lacks."""
        if self.local is None:
            with self.filesystem.open_output_stream(self.path, compression=None) as stream:
                stream.write(data)
            return
        with self.writing() as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A file that is published here whole at the end, replacing what stood here; nothing is if that is an error.

        Raises OSError that tells what a full disk lacks.
        """
        local = self.local
        if local is None:
            with tempfile.TemporaryFile() as file:
                yield file
                file.seek(0)
                with self.filesystem.open_output_stream(self.path, compression=None) as stream:
                    shutil.copyfileobj(file, stream, CHUNK)
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, local)
        except OSError as error:
            if error.errno not in FULL:
                raise
            written = temporary.stat().st_size if temporary.exists() else 0
            needed = f"{self} needs more than {written / 1000:.0f} kB"
            left = f"{shutil.disk_usage(local.parent).free / 1000:.0f} kB are left"
            raise OSError(error.errno, f"{error.strerror}: {needed}, {left}") from None
        finally:
            temporary.unlink(missing_ok=True)

    def write_json(self, value: Any) -> None:
        """Publish `value` as indented JSON; non-finite numbers are refused."""
        self.write_bytes((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())

    def sha256(self) -> str:
        """Hash of the file's content, as hex."""
        digest = hashlib.sha256()
        with self.filesystem.open_input_stream(self.path, compression=None) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def delete(self) -> None:
        """Remove the file or the folder with all below it; nothing there is no error."""
        kind = self._type()
        if kind == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.path)
        elif kind == pafs.FileType.File:
            self.filesystem.delete_file(self.path)

    def sweep(self) -> None:
        """Remove what writers that were killed left half written below this local folder, while nobody writes there."""
        for folder, _, names in os.walk(self.local or ""):
            for name in filter(_HALF_WRITTEN.fullmatch, names):
                Path(folder, name).unlink(missing_ok=True)

    def upload(self, folder: Path) -> None:
        """Publish every file below a local `folder` here, by sorted path."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            (self / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())

    @contextlib.contextmanager
    def as_local(self) -> Iterator[Path]:
        """This folder as a path on the local disk: itself, or a temporary copy of a remote one."""
        if self.local is not None:
            yield self.local
            return
        with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
            for source in self.files():
                target = Path(name) / PurePosixPath(source.path).relative_to(self.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
            yield Path(name)
