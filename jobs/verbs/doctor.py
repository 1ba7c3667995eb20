"""`mrigen doctor`: look at this machine, and say what to mend."""

from __future__ import annotations

import click

from jobs import health


@click.command()
@click.option(
    "--storage",
    "place",
    metavar="PATH",
    default=".",
    help="Folder or URI that results are to go to; a small file is written there and deleted.  "
    "[default: the current folder]",
)
def command(place: str) -> None:
    """Check Python, packages, GPU, memory, storage, ports, the embedded model and Ray.

    One line a check: ok, warn or fail, with the remedy after an arrow. Ends with exit status 1 if one fails.
    """
    failed = 0
    for finding in health.examine(place):
        click.echo(finding.line())
        failed += finding.status == "fail"
    if failed:
        click.echo(f"\n{failed} check{'s' if failed > 1 else ''} failed.")
        raise click.exceptions.Exit(1)
    click.echo("\nReady: try `mrigen demo`.")
