"""How every verb that measures a run ends: notices and words on the terminal, and where the page is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mrigen.report.published import Published


def show(published: Published) -> int:
    """Print notices (to stderr), words, and the page's place; gives the exit status, 1 where the result is a failure."""
    for notice in published.notices:
        click.echo(f"note: {notice}", err=True)
    for line in published.words:
        click.echo(line)
    click.echo(f"page: {published.page}")
    return int(published.failed)
