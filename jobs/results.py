"""How every verb that reports ends: on the terminal."""

from __future__ import annotations

import click

from mrigen.report.publish import Published


def print_published(published: Published) -> None:
    """Print the notices (to stderr), the words, and the page's place."""
    for notice in published.notices:
        click.echo(f"note: {notice}", err=True)
    for lines in published.words:
        click.echo(lines)
    click.echo(f"page: {published.page}")
