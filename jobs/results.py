"""How every verb that reports ends: on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mrigen.report.publish import Published


def show(published: Published) -> None:
    """Print the notices (to stderr), the words, and the page's place."""
    for notice in published.notices:
        click.echo(f"note: {notice}", err=True)
    for words in published.words:
        click.echo(words)
    click.echo(f"page: {published.page}")
