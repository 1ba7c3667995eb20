"""`mrigen runs`: what stands in the run folders below a folder."""

from __future__ import annotations

import click

from jobs.options import input_folder


@click.command("runs")
@click.argument("folder")
def command(folder: str) -> None:
    """List the runs in FOLDER: how far each is, the KID of its samples with its interval, and its settings that others
    do not share."""
    from rich.console import Console
    from rich.table import Table

    from mrigen.report.runs import differing, read_runs

    runs = read_runs(input_folder(folder, "FOLDER"))
    table = Table("run", "done", "at work", "KID", "settings that differ")
    for run, settings in zip(runs, differing(runs), strict=True):
        told = "\n".join(f"{name}={value}" for name, value in settings.items())
        table.add_row(run.name, run.done, run.at, run.kid, told)
    Console(markup=False).print(table)
