"""How every stage that measures a run ends: its figures as JSON, a page, and words for who called it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrigen.errors import InputError
from mrigen.storage import Location


@dataclass(frozen=True)
class Published:
    """What a stage wrote and has to tell; `failed` is set by an audit that does not pass."""

    page: Location
    notices: tuple[str, ...]
    """What a reader must know before the figures."""
    words: tuple[str, ...]
    """The result, in lines for a terminal."""
    failed: bool = False


def result_folder(folder: Location, name: str) -> Location:
    """The folder itself. Raises InputError if it holds files of something else, for none is called `name`."""
    start = len(folder.path.rstrip("/")) + 1
    if not (folder / name).is_file() and any(not file.path[start:].startswith(".") for file in folder.files()):
        raise InputError(f"{folder} is not empty and holds no {name}: use a new folder for --out")
    return folder


def publish(
    folder: Location,
    page: str,
    name: str,
    figures: Mapping[str, Any],
    *,
    notices: Sequence[str],
    words: Sequence[str],
    failed: bool = False,
) -> Published:
    """Write the page as `index.html` and the figures as the file `name`."""
    (folder / "index.html").write_bytes(page.encode())
    (folder / name).write_json(figures)
    return Published(folder / "index.html", tuple(notices), tuple(words), failed)
