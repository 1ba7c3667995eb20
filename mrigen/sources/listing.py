"""All files below a folder, listed once; and what is named like a scan but is no file to be read."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrigen.sources.scans import Rejected
from mrigen.storage import Location

SCAN_SUFFIXES = (".nii", ".nii.gz", ".hdr")
"""NIfTI files, and the headers of Analyze or NIfTI pairs."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


@dataclass(frozen=True)
class Listing:
    """Files as sorted paths relative to the folder, and what is left out with the reasons."""

    files: tuple[str, ...]
    rejected: tuple[Rejected, ...] = ()


def is_scan_name(path: str) -> bool:
    """Whether a file is named like a scan: `.nii`, `.nii.gz`, or `.hdr` of a pair."""
    return path.casefold().endswith(SCAN_SUFFIXES)


def _is_named_like_a_scan(path: str) -> bool:
    return path.casefold().endswith((*SCAN_SUFFIXES, ".img", ".dcm"))


def list_files(folder: Location, *, follow_links: bool = False) -> Listing:
    """The files below a folder, on any storage; hidden files and folders are left out.

    On a local disk, symbolic links count if they lead to a place below the folder, or to anywhere with
    `follow_links`; no folder is walked twice. Left out with a reason are links that lead elsewhere, nowhere or back,
    names that cannot be printed, and what is named like a scan but is a folder without scans, a FIFO, a socket or a
    device.
    """
    if folder.local is None:
        start = len(folder.path.rstrip("/")) + 1
        paths = (file.path[start:] for file in folder.files())
        return Listing(tuple(path for path in paths if not re.search(r"(^|/)\.", path)))
    walk = _Walk(Path(os.path.realpath(folder.local)), follow_links)
    walk.run(folder.local)
    start = len(str(folder.local).rstrip("/")) + 1
    files = sorted(path[start:] for path in walk.files)
    scans = [path for path in walk.files if _is_named_like_a_scan(path)]
    for path in walk.folders_named_like_scans:
        if not any(scan.startswith(f"{path}/") for scan in scans):
            walk.reject(path, "a folder, not a file", "kind")
    return Listing(tuple(files), tuple(sorted(walk.rejected, key=lambda item: item.path)))


class _Walk:
    """One walk over a local tree; links to folders are followed last, so that files keep their own names."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.root, self.follow_links = root, follow_links
        self.files: list[str] = []
        self.folders_named_like_scans: list[str] = []
        self.rejected: list[Rejected] = []
        self._walked: set[str] = set()
        self._linked_folders: list[str] = []

    def reject(self, path: str, reason: str, fault: str) -> None:
        self.rejected.append(Rejected.because(_printable(path), reason, fault))

    def run(self, folder: Path) -> None:
        self._walk(str(folder))
        while self._linked_folders:
            self._walk(self._linked_folders.pop(0))

    def _walk(self, top: str) -> None:
        folders = [top]
        while folders:
            folder = folders.pop()
            real = os.path.realpath(folder)
            if real in self._walked:
                continue
            self._walked.add(real)
            for entry in self._entries(folder):
                if entry.is_symlink():
                    self._link(entry)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    if _is_named_like_a_scan(entry.name):
                        self.folders_named_like_scans.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    self.files.append(entry.path)
                elif _is_named_like_a_scan(entry.name):
                    kind = _KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), "of a strange kind")
                    self.reject(entry.path, f"{kind}, not a file", "kind")

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError as error:
            self.reject(folder, f"cannot be listed: {error.strerror}", "missing")
            return
        for entry in entries:
            if not _UNPRINTABLE.search(entry.name):
                yield entry
            elif entry.is_dir() or _is_named_like_a_scan(entry.name):
                self.reject(entry.path, "its name is not UTF-8 or has control characters: rename it", "name")

    def _link(self, entry: os.DirEntry[str]) -> None:
        target = os.path.realpath(entry.path)
        try:
            is_folder = stat.S_ISDIR(os.stat(entry.path).st_mode)
        except OSError as error:
            if _is_named_like_a_scan(entry.name):
                loop = error.errno == errno.ELOOP
                self.reject(entry.path, "a link in a loop" if loop else f"a link to {target}, which is missing", "link")
            return
        if not self.follow_links and not Path(target).is_relative_to(self.root):
            if is_folder or _is_named_like_a_scan(entry.name):
                self.reject(entry.path, f"a link out of the source, to {target}: allow it by links=follow", "link")
        elif is_folder and Path(os.path.realpath(os.path.dirname(entry.path))).is_relative_to(target):
            self.reject(entry.path, "a link back to a folder above it", "link")
        elif is_folder:
            self._linked_folders.append(entry.path)
        elif os.path.isfile(target):
            self.files.append(entry.path)
        elif _is_named_like_a_scan(entry.name):
            self.reject(entry.path, "a link to what is not a file", "kind")


def _printable(path: str) -> str:
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
