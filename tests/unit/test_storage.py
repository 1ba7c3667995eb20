"""Files on a local disk and on a filesystem that is none."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import pickle
import re
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.run import require_finished
from mrigen.storage import Location


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty folder on the local disk, and one on a filesystem that Location must not take for it."""
    if request.param == "disk":
        return Location.parse(tmp_path)
    store = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    store.create_dir("bucket")
    return Location(store, "bucket")


def test_files_are_written_read_listed_and_deleted(folder: Location) -> None:
    file = folder / "deep.txt"
    file.write_bytes(b"abc")
    assert file.read_bytes() == b"abc"
    assert file.is_file()
    assert not file.is_folder()
    assert folder.is_folder()
    assert file.sha256() == hashlib.sha256(b"abc").hexdigest()
    assert [found.name for found in folder.files()] == ["deep.txt"]
    file.write_bytes(b"other")
    assert file.read_bytes() == b"other"
    file.delete()
    file.delete()
    assert not file.is_file()
    assert folder.files() == []
    with pytest.raises(FileNotFoundError):
        file.read_bytes()


def test_json_comes_back_and_what_is_none_is_told(folder: Location) -> None:
    file = folder / "a.json"
    file.write_json({"a": [1, 2.5, None, "ü"]})
    assert file.read_json() == {"a": [1, 2.5, None, "ü"]}
    with pytest.raises(ValueError, match="JSON"):
        file.write_json({"a": float("nan")})
    file.write_bytes(b"{")
    with pytest.raises(InputError, match=r"a\.json is not JSON"):
        file.read_json()


def test_a_full_disk_names_the_file_and_what_was_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = Location.parse(tmp_path) / "data/part.parquet"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    told = rf"No space left on device: {tmp_path}/data/part\.parquet needs more than 3146 kB, [0-9]+ kB are left"
    with pytest.raises(OSError, match=told):
        file.write_bytes(bytes(3 << 20))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["part.parquet"]
    assert file.read_bytes() == b"old"


def test_a_compressed_file_is_its_bytes(folder: Location) -> None:
    content = gzip.compress(b"abc" * 100)
    file = folder / "a.nii.gz"
    file.write_bytes(content)
    assert file.read_bytes() == content
    assert file.sha256() == hashlib.sha256(content).hexdigest()


def test_a_location_travels_between_processes(folder: Location) -> None:
    (folder / "a").write_bytes(b"x")
    again = pickle.loads(pickle.dumps(folder))  # noqa: S301
    assert (again / "a").read_bytes() == b"x"


def test_files_are_listed_by_path_without_unfinished_ones(tmp_path: Path) -> None:
    folder = Location.parse(tmp_path)
    for name in ("b/2.txt", "b/1.txt", "a.txt", "c.bin", ".a.txt.123.tmp"):
        (folder / name).write_bytes(b"")
    assert [Path(f.path).relative_to(tmp_path).as_posix() for f in folder.files(".txt")] == [
        "a.txt",
        "b/1.txt",
        "b/2.txt",
    ]
    assert len(folder.files()) == 4
    assert (folder / "nothing here").files() == []


def test_what_a_killed_writer_left_is_swept_away_and_no_more(tmp_path: Path) -> None:
    folder = Location.parse(tmp_path)
    kept = {"a.txt", "b/.a.tmp", f".lease-{'0a' * 16}.tmp", f"b/{'0a' * 16}.tmp"}
    for name in (*kept, f"b/c/.a.nii.gz.{'0a' * 16}.tmp"):
        (folder / name).write_bytes(b"")
    folder.sweep()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == kept
    Location(pafs.SubTreeFileSystem("/", pafs.LocalFileSystem()), str(tmp_path)).sweep()  # a store has none


def test_a_folder_is_deleted_with_all_below_it_and_uploaded_likewise(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "x").mkdir(parents=True)
    (source / "x" / "y").write_bytes(b"1")
    (source / "z").write_bytes(b"2")
    target = Location.parse(tmp_path / "target")
    target.upload(source)
    assert (target / "x/y").read_bytes() + (target / "z").read_bytes() == b"12"
    target.delete()
    assert not target.is_folder()


def test_a_remote_folder_is_copied_and_a_local_one_is_itself(folder: Location) -> None:
    (folder / "a").write_bytes(b"x")
    with folder.as_local() as path:
        assert (path / "a").read_bytes() == b"x"
        assert (path == folder.local) == (folder.local is not None)
    assert (folder / "a").read_bytes() == b"x"


def test_where_nothing_can_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    Location.parse(tmp_path / "not" / "yet" / "there").require_writable()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "below"
    with pytest.raises(InputError, match=f"^cannot write to {re.escape(str(place))}: Not a directory$"):
        Location.parse(place).require_writable()


def test_paths_are_made_absolute_and_uris_are_known_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location.parse("a/b").path == Location.parse("~/a/b").path == f"{tmp_path}/a/b"
    assert Location.parse(f"file://{tmp_path}").local == tmp_path
    for text in ("nosuch://bucket/a", "s3://", "", "a\0b"):
        with pytest.raises(InputError):
            Location.parse(text)


def test_a_uri_is_told_with_where_its_store_is_and_without_what_opens_it() -> None:
    place = "region=eu-west-1&endpoint_override=store.example.org:9000&scheme=https"
    run = Location.parse(f"s3://key:secret@bucket/run?{place}&allow_bucket_creation=true")
    assert str(run / "vae") == f"s3://bucket/run/vae?{place}"
    assert str(run.at("bucket/other")) == f"s3://bucket/other?{place}"
    assert str(Location.parse(str(run))) == str(run)
    with pytest.raises(InputError, match=re.escape(f"run `mrigen prepare 's3://bucket/run?{place}'` first")):
        require_finished(_Empty(run.filesystem, run.path, run.query), Config(), "data", "prepare")


class _Empty(Location):
    """A folder without files."""

    def __truediv__(self, name: str) -> _Empty:
        return self

    def is_file(self) -> bool:
        return False

    def files(self, suffix: str = "") -> list[Location]:
        return []
