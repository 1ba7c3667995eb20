"""`mrigen generate`: a synthetic data set, sharded over Ray Data."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from jobs.options import input_folder, output_location, worker_options
from jobs.placement import Placement
from mrigen.labels import Cell
from mrigen.solvers import SOLVERS


@click.command("generate")
@click.option("--model", metavar="DIR", help="Model folder.  [default: the embedded model, trained on a phantom]")
@click.option("--out", required=True, metavar="OUT", help="Folder or URI of the data set; resumed if it stands there.")
@click.option("--per-cell", type=click.IntRange(min=1), default=4, show_default=True, help="Samples of every cell.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the data set.")
@click.option("--cells", metavar="CELLS", help="Cells such as Glioblastoma:FLAIR,MS:PD.  [default: those trained on]")
@click.option("--allow-untrained", is_flag=True, help="Also cells that the model never saw, marked.")
@click.option("--solver", help=f"{', '.join(SOLVERS)}.  [default: the model's]")
@click.option("--num-steps", type=int, help="Network calls a sample.  [default: the model's]")
@click.option("--guidance-scale", type=float, help="1 is no guidance, more is stronger.  [default: the model's]")
@click.option("--pathology-scale", type=float, help="Guidance by the pathology alone.  [default: the model's]")
@click.option("--modality-scale", type=float, help="Guidance by the modality alone.  [default: the model's]")
@click.option("--slice-mm", type=float, help="Height of the slices above the brain's centre.  [default: drawn]")
@click.option("--shard-size", type=click.IntRange(min=1), default=64, show_default=True, help="Samples of a shard.")
@worker_options(default_workers=2)
def command(
    model: str | None,
    out: str,
    per_cell: int,
    seed: int,
    cells: str | None,
    allow_untrained: bool,
    slice_mm: float | None,
    shard_size: int,
    placement: Placement,
    **sampler: Any,
) -> None:
    """Generate a data set in OUT: BIDS, Parquet, a card and a page to look at it.

    The same command makes the same bytes on any number of workers; a killed one is resumed by calling it again.
    """
    from jobs.each_on_ray import EachOnRay
    from jobs.showing import print_cohort
    from mrigen.stages.generate import generate_run

    folder = output_location(out)
    cohort = generate_run(
        folder,
        input_folder(model, "--model") if model is not None else None,
        EachOnRay(placement),
        cells=[Cell.parse(text) for text in cells.split(",")] if cells is not None else None,
        per_cell=per_cell,
        seed=seed,
        sampler={name: value for name, value in sampler.items() if value is not None},
        slice_mm=slice_mm,
        shard_size=shard_size,
        allow_untrained=allow_untrained,
        command=shlex.join(["mrigen", *sys.argv[1:]]),
    )
    print_cohort(cohort, folder)
