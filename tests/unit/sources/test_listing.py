"""Listing a tree: what is a file to be read, and what only looks like one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from mrigen.sources.listing import Listing, list_files
from mrigen.storage import Location
from tests.fake_scans import touch


def faults(listing: Listing, root: Path) -> dict[str, tuple[str, str]]:
    """Relative path -> fault and reason, of which each names its file."""
    assert all(item.reason.startswith(f"{item.path}: ") for item in listing.rejected)
    return {
        os.path.relpath(item.path, root): (item.fault, item.reason.removeprefix(f"{item.path}: "))
        for item in listing.rejected
    }


def test_files_are_found_at_any_depth_but_no_hidden_ones(tmp_path: Path) -> None:
    touch(tmp_path, "b/c/2.nii.gz", "1.nii", "x.json", ".hidden/3.nii", "b/.4.nii.gz", "mit Ümlaut/ a b.nii")
    expected = ("1.nii", "b/c/2.nii.gz", "mit Ümlaut/ a b.nii", "x.json")
    assert list_files(Location.parse(tmp_path)) == Listing(expected)
    assert list_files(Location.parse(f"{tmp_path}/")) == Listing(expected)
    remote = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "")
    assert remote.local is None
    (tmp_path / "top").mkdir()
    os.rename(tmp_path / "b", tmp_path / "top" / "b")
    assert list_files(remote / "top").files == ("b/c/2.nii.gz",)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "ok.nii", "holder.nii/inner.nii", "folder.nii.gz/notes.txt")
    os.mkfifo(tmp_path / "fifo.NII")
    os.mkfifo(tmp_path / "fifo.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.nii.gz"))
        listing = list_files(Location.parse(tmp_path))
    assert listing.files == ("folder.nii.gz/notes.txt", "holder.nii/inner.nii", "ok.nii")
    assert faults(listing, tmp_path) == {
        "fifo.NII": ("kind", "a FIFO, not a file"),
        "folder.nii.gz": ("kind", "a folder, not a file"),
        "socket.nii.gz": ("kind", "a socket, not a file"),
    }


def test_links_count_within_the_tree_alone(tmp_path: Path) -> None:
    root, outside = tmp_path / "tree", tmp_path / "outside"
    touch(root, ".git/annex/objects/aa", "real/1.nii", "sub/x.txt")
    touch(outside, "scan.nii", "more/2.nii", "table.csv")
    links = {
        "annexed.nii": ".git/annex/objects/aa",
        "linked": "real",
        "hidden": ".git/annex",
        "out.nii": "../outside/scan.nii",
        "out": "../outside",
        "out.csv": "../outside/table.csv",
        "broken.nii.gz": "nowhere.nii.gz",
        "broken.txt": "nowhere",
        "loop.nii": "loop.nii",
        "sub/up": "..",
        "device.nii": "/dev/null",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    listing = list_files(Location.parse(root))
    assert listing.files == ("annexed.nii", "hidden/objects/aa", "real/1.nii", "sub/x.txt")
    assert {path: fault for path, (fault, _) in faults(listing, root).items()} == dict.fromkeys(
        ["broken.nii.gz", "device.nii", "loop.nii", "out", "out.nii", "sub/up"], "link"
    )
    told = {path: reason for path, (_, reason) in faults(listing, root).items()}
    assert told["broken.nii.gz"] == f"a link to {root}/nowhere.nii.gz, which is missing"
    assert told["loop.nii"] == "a link in a loop"
    assert told["sub/up"] == "a link back to a folder above it"
    assert told["out.nii"] == f"a link out of the source, to {outside}/scan.nii: allow it by links=follow"

    listing = list_files(Location.parse(root), follow_links=True)
    assert {"out.nii", "out.csv", "out/more/2.nii", "out/scan.nii"} < set(listing.files)
    told = {path: reason for path, (_, reason) in faults(listing, root).items()}
    assert set(told) == {"broken.nii.gz", "device.nii", "loop.nii", "sub/up"}
    assert told["device.nii"] == "a link to what is not a file"


def test_a_tree_may_be_named_by_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.nii", "real/objects/2")
    (tmp_path / "real/2.nii").symlink_to("objects/2")
    (tmp_path / "name").symlink_to("real")
    assert list_files(Location.parse(tmp_path / "name")) == Listing(("1.nii", "2.nii", "objects/2"))


def test_names_that_cannot_be_printed_are_told_in_print(tmp_path: Path) -> None:
    touch(tmp_path, "ok.nii")
    for name in (b"latin\xe9.nii", b"two\nlines.nii.gz", b"latin\xe9.txt"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    os.mkdir(os.fsencode(tmp_path) + b"/fold\xe9r")
    listing = list_files(Location.parse(tmp_path))
    assert listing.files == ("ok.nii",)
    assert {Path(item.path).name for item in listing.rejected} == {r"fold\xe9r", r"latin\xe9.nii", r"two\nlines.nii.gz"}
    for item in listing.rejected:
        assert item.fault == "name"
        assert item.reason.isprintable()
        assert "rename it" in item.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    (item,) = list_files(Location.parse(tmp_path)).rejected
    assert item.reason.endswith("cannot be listed: Permission denied")
