"""`mrigen compare`: two evaluations side by side."""

from __future__ import annotations

import click

from mrigen.storage import Location


@click.command("compare")
@click.argument("run_a")
@click.argument("run_b")
@click.option("--cells", is_flag=True, help="Show single cells too, not only what is pooled.")
def command(run_a: str, run_b: str, cells: bool) -> None:
    """Print the figures of two evaluations side by side, with intervals, and mark where these do not overlap.

    RUN_A and RUN_B are runs that `mrigen evaluate` has evaluated, the folders of their reports, or metrics.json files.
    Evaluations on other splits or by other feature extractors do not compare, and are refused; figures that rest on
    another network in each run are left out.
    """
    from mrigen.report.compare import comparison_text, read_metrics

    first, second = (read_metrics(Location.parse(place)) for place in (run_a, run_b))
    click.echo(comparison_text(first, second, cells=cells))
