"""`mrigen demo`: a small data set of all 20 cells with the embedded model."""

from __future__ import annotations

import dataclasses

import click

from jobs.options import worker_options
from jobs.placement import Placement
from jobs.verbs import generate

SLICE_MM = 8.0
"""Height of the demo's slices above the brain's centre: through the lateral ventricles."""


@click.command("demo")
@click.option("--out", default="out/demo", show_default=True, metavar="OUT", help="Folder of the data set.")
@click.option("--per-cell", type=click.IntRange(min=1), default=4, show_default=True, help="Samples of every cell.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the data set.")
@worker_options(default_workers=2)
@click.pass_context
def command(context: click.Context, out: str, per_cell: int, seed: int, placement: Placement) -> None:
    """Make a data set of all 20 cells with the embedded model, and a page to look at it.

    The same as `mrigen generate --allow-untrained --slice-mm 8 --out out/demo`: one slice height, through the
    ventricles, so that the cells compare. The embedded model was trained on a phantom cohort, and never saw the
    cells that are marked.
    """
    context.invoke(
        generate.command,
        out=out,
        per_cell=per_cell,
        seed=seed,
        allow_untrained=True,
        slice_mm=SLICE_MM,
        **dataclasses.asdict(placement),
    )
