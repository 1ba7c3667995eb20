"""`mrigen generate`: a synthetic data set, sharded over Ray Data."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from jobs.options import output_location
from jobs.placement import Placement, connect, worker_options
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.solvers import SOLVERS
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.cohort.plan import CohortPlan
    from mrigen.pipeline import Pipeline


@click.command("generate")
@click.option("--model", metavar="DIR", help="Model folder.  [default: the embedded model, trained on a phantom]")
@click.option("--out", required=True, metavar="OUT", help="Folder or URI of the data set; resumed if it stands there.")
@click.option("--per-cell", type=click.IntRange(min=1), default=4, show_default=True, help="Samples of every cell.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the data set.")
@click.option("--cells", metavar="CELLS", help="Cells such as Glioblastoma:FLAIR,MS:PD.  [default: all 20]")
@click.option("--allow-untrained", is_flag=True, help="Also generate cells that the model never saw; they are marked.")
@click.option("--solver", help=f"{', '.join(SOLVERS)}.  [default: the model's]")
@click.option("--num-steps", type=int, help="Network calls a sample.  [default: the model's]")
@click.option("--guidance-scale", type=float, help="1 is no guidance, more is stronger.  [default: the model's]")
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
    solver: str | None,
    num_steps: int | None,
    guidance_scale: float | None,
    slice_mm: float | None,
    shard_size: int,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> None:
    """Generate a data set in OUT: BIDS, Parquet, a card and a page to look at it.

    The same command makes the same bytes on any number of workers; a killed one is resumed by calling it again.
    """
    from mrigen.cohort.plan import CohortPlan

    folder = output_location(out)
    asked = [Cell.parse(text) for text in cells.split(",")] if cells is not None else all_cells()
    pipeline = load_pipeline(model)
    sampler = resolve_sampler(pipeline.config.sampler, solver, num_steps, guidance_scale)
    if not allow_untrained:
        pipeline.require_trained(asked, "add --allow-untrained to generate them, marked, or choose others by --cells")
    plan = CohortPlan(
        model_sha256=pipeline.model_sha256,
        cells=tuple(dict.fromkeys(asked)),
        per_cell=per_cell,
        seed=seed,
        sampler=sampler,
        slice_mm=_checked_slice_mm(slice_mm, pipeline),
        shard_size=shard_size,
    )
    run_plan(plan, pipeline, model, folder, Placement(num_workers, use_gpu), address)


def load_pipeline(model: str | None) -> Pipeline:
    """The pipeline of a model folder or URI, or of the embedded model. Raises InputError."""
    from mrigen.pipeline import Pipeline

    if model is None:
        return Pipeline.load()
    location = Location.parse(model)
    if not location.is_folder():
        raise InputError(f"--model: no folder {model}")
    with location.as_local() as local:
        return Pipeline.load(local)


def resolve_sampler(
    default: SamplerConfig, solver: str | None, num_steps: int | None, guidance_scale: float | None
) -> SamplerConfig:
    """The model's own sampler settings with those given laid over. Raises InputError that names the fault."""
    from mrigen.config import parse_section

    given = {"solver": solver, "num_steps": num_steps, "guidance_scale": guidance_scale}
    tree = default.model_dump() | {name: value for name, value in given.items() if value is not None}
    return parse_section(SamplerConfig, tree, "sampler")


def run_plan(
    plan: CohortPlan, pipeline: Pipeline, model: str | None, folder: Location, placement: Placement, address: str | None
) -> None:
    """Fill and close the data set that `plan` describes, and print where it is."""
    from jobs.summary import print_cohort, write_page
    from jobs.tasks import run_tasks
    from mrigen.cohort.closing import close_cohort
    from mrigen.cohort.plan import write_plan

    write_plan(plan, folder)
    connect(address, placement)
    make_work = functools.partial(_make_work, model, plan, folder, placement.device)
    tasks = [{"shard": shard} for shard in range(plan.num_shards)]
    for _ in run_tasks(make_work, tasks, placement, "generate (shards)"):
        pass
    trained = {cell: pipeline.is_trained(cell) for cell in all_cells()}
    command_line = shlex.join(["mrigen", *sys.argv[1:]])
    page = write_page(plan, trained, folder, command_line, pipeline.config.data.plane)
    counts = close_cohort(plan, trained, folder)
    print_cohort(counts, trained, folder, page)


def _checked_slice_mm(slice_mm: float | None, pipeline: Pipeline) -> float | None:
    """The slice height given, if the model was trained near it. Raises InputError."""
    low, high = pipeline.model.slice_mm_quantiles[0], pipeline.model.slice_mm_quantiles[-1]
    if slice_mm is not None and not low <= slice_mm <= high:
        raise InputError(f"--slice-mm {slice_mm:g} lies outside what the model was trained on: {low:g} to {high:g} mm")
    return slice_mm


def _make_work(
    model: str | None, plan: CohortPlan, folder: Location, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: fill a shard."""
    from mrigen.cohort.plan import read_shard
    from mrigen.cohort.shard import make_shard
    from mrigen.pipeline import Pipeline

    pipeline = Pipeline(load_pipeline(model).model, device)
    if pipeline.model_sha256 != plan.model_sha256:
        raise InputError(f"the model at {model} changed since the plan was made: use another folder for --out")

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = read_shard(folder, int(task["shard"]))
        make_shard(pipeline, rows, plan.sampler, plan.slice_mm, folder)
        return {"shard": int(task["shard"]), "num_samples": len(rows)}

    return work
