"""`mrigen generate`: a synthetic data set, sharded over Ray Data."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from jobs.options import input_folder, output_location, worker_options
from jobs.placement import Placement
from mrigen.diffusion.solvers import SOLVERS
from mrigen.storage import Location


@click.command("generate")
@click.option("--model", metavar="DIR", help="Model folder.  [default: the embedded model, trained on a phantom]")
@click.option("--out", required=True, metavar="OUT", help="Folder or URI of the data set; resumed if it stands there.")
@click.option("--cells", metavar="CELLS", help="Such as GBM:T1ce=5000,MS:*=200,HC:PD.  [default: those trained on]")
@click.option("--per-cell", type=click.IntRange(min=1), metavar="N", help="Of cells without a number.  [default: 4]")
@click.option("--plan", "table", metavar="FILE", help="What to make, as YAML, CSV or Parquet, in place of --cells.")
@click.option("--balance", metavar="DATA", help="Make what prepared data lacks of its largest cell, or of --per-cell.")
@click.option("--subjects", metavar="N", help="Synthetic persons, each in all --modalities: 100, or GBM=100,MS=50.")
@click.option("--modalities", metavar="LIST", help="Such as T1w,T2w,FLAIR, with --subjects.")
@click.option("--allow-untrained", is_flag=True, help="Also cells that the model never saw, marked.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the data set.")
@click.option(
    "--format",
    "formats",
    metavar="LIST",
    help="Of bids, webdataset, huggingface, previews, parquet.  [default: bids, of a million samples webdataset]",
)
@click.option(
    "--redraws",
    type=click.IntRange(min=0),
    default=3,
    help="How often a rejected sample is drawn anew; 0 rejects none.  [default: 3]",
)
@click.option("--gates", metavar="LIST", help="Also reject by labels, copies: see the guide. --model lies in its run.")
@click.option("--solver", help=f"{', '.join(SOLVERS)}.  [default: the model's]")
@click.option("--num-steps", type=int, help="Network calls a sample.  [default: the model's]")
@click.option("--guidance-scale", type=float, help="1 is no guidance, more is stronger.  [default: the model's]")
@click.option("--pathology-scale", type=float, help="Guidance by the pathology alone.  [default: the model's]")
@click.option("--modality-scale", type=float, help="Guidance by the modality alone.  [default: the model's]")
@click.option("--precision", help="fp32; or bf16, faster where the hardware has it.  [default: the model's]")
@click.option("--compute-batch", type=int, help="Samples that are computed at once.  [default: the model's]")
@click.option("--slice-mm", type=float, help="Height of the slices above the brain's centre.  [default: drawn]")
@click.option("--source", metavar="NAME", help="Site or scanner, of a model that tells them apart.  [default: average]")
@click.option("--shard-size", type=click.IntRange(min=1), default=64, show_default=True, help="Samples of a shard.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, by a timed warm-up, and write nothing.")
@worker_options(default_workers=2)
def command(
    model: str | None,
    out: str,
    table: str | None,
    balance: str | None,
    dry_run: bool,
    placement: Placement,
    **asked: Any,
) -> int:
    """Generate a data set in OUT, with a card and a page to look at it.

    The same command makes the same bytes on any number of workers; a killed one is resumed by calling it again, and one
    that asks for more adds to what is there. From 1,000 samples on it tells what they take, and refuses what does not
    fit the disk. Exit status 1 where --dry-run finds that.
    """
    from jobs.each_on_ray import EachOnRay
    from jobs.showing import print_cohort, print_room, print_time
    from mrigen.cohort.estimate import Estimate
    from mrigen.cohort.order import CohortOrder
    from mrigen.stages.generate import estimate_run, generate_run

    order = CohortOrder.of_words(
        table=Location.parse(table) if table is not None else None,
        balance=input_folder(balance, "--balance") if balance is not None else None,
        **asked,
    )
    folder = output_location(out)
    folder_of_model = input_folder(model, "--model") if model is not None else None
    if dry_run:
        estimate = estimate_run(folder, folder_of_model, EachOnRay(placement), order)
        print_room(estimate, dry_run=True)
        print_time(estimate, placement, f"the warm-up{', without the gates' if order.gates else ''}")
        return int(not estimate.fits)

    def tell(estimate: Estimate) -> None:
        if estimate.seconds is None:
            print_room(estimate)
        print_time(estimate, placement, "the first shard")
        sys.stdout.flush()

    line = shlex.join(["mrigen", *sys.argv[1:]])
    cohort = generate_run(folder, folder_of_model, EachOnRay(placement), order, command=line, tell=tell)
    print_cohort(cohort, folder)
    return 0
