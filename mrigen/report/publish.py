"""How every stage that reports ends: a page and its figures as JSON in one folder, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrigen.storage import Location


@dataclass(frozen=True)
class Published:
    """The page that was written, what its reader must know first, and its figures as lines for a terminal."""

    page: Location
    notices: tuple[str, ...]
    words: tuple[str, ...]


def publish(
    folder: Location, page: str, name: str, figures: Mapping[str, Any], *, notices: Sequence[str], words: Sequence[str]
) -> Published:
    """Write `index.html`, and the figures as the file `name` beside it."""
    place = folder / "index.html"
    place.write_bytes(page.encode())
    (folder / name).write_json(figures)
    return Published(place, tuple(notices), tuple(words))
