"""How every verb that judges or studies ends: a page, its figures as JSON, and words on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from mrigen.storage import Location


def publish(
    folder: Location, page: str, name: str, figures: Mapping[str, Any], *, notices: Sequence[str], words: Sequence[str]
) -> None:
    """Write `index.html` and the figures, as the file `name`, then print notices (to stderr), words, and the page's
    place."""
    (folder / "index.html").write_bytes(page.encode())
    (folder / name).write_json(figures)
    for notice in notices:
        click.echo(f"note: {notice}", err=True)
    for text in words:
        click.echo(text)
    click.echo(f"page: {folder / 'index.html'}")
