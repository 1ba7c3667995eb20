"""A model to a synthetic data set: samples of any cells as BIDS and Parquet, with a card and a page."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrigen.cohort.closing import close_cohort
from mrigen.cohort.plan import CohortPlan, read_shard, write_plan
from mrigen.cohort.shard import make_shard
from mrigen.config import SamplerConfig, parse_section
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.pipeline import Pipeline
from mrigen.report.samples.page import write_samples_page
from mrigen.storage import Location


@dataclass(frozen=True)
class Cohort:
    """A finished data set: its samples by cell, the cells among all that the model was trained on, and its page."""

    counts: Mapping[Cell, int]
    trained: frozenset[Cell]
    page: Location


def generate_run(
    out: Location,
    model: Location | None,
    each: Each,
    *,
    cells: Sequence[Cell] | None = None,
    per_cell: int = 4,
    seed: int = 0,
    sampler: Mapping[str, Any] | None = None,
    slice_mm: float | None = None,
    shard_size: int = 64,
    allow_untrained: bool = False,
    command: str = "",
) -> Cohort:
    """Fill `out` with `per_cell` samples of each of `cells`, by a model folder or the embedded model.

    Without `cells`, of those that the model was trained on, or with `allow_untrained` of all 20.

    `sampler` is laid over the model's own settings, `slice_mm` fixes the height that is else drawn for each sample,
    and `command` is what the page says to have made it. The same call makes the same bytes with any `each`, and
    finishes what a killed one began. Raises InputError for cells that the model never saw, unless they are allowed,
    settings out of range, or an `out` that holds anything else.
    """
    pipeline = Pipeline.load(model)
    trained = {cell: pipeline.is_trained(cell) for cell in all_cells()}
    known = [cell for cell, seen in trained.items() if seen or allow_untrained]
    asked = tuple(dict.fromkeys(known if cells is None else cells))
    settings = parse_section(SamplerConfig, pipeline.config.sampler.model_dump() | dict(sampler or {}))
    if not allow_untrained:
        pipeline.require_trained(asked, "or add --allow-untrained to generate others too, marked")
    low, high = pipeline.model.slice_mm_quantiles[0], pipeline.model.slice_mm_quantiles[-1]
    if slice_mm is not None and not low <= slice_mm <= high:
        raise InputError(f"--slice-mm {slice_mm:g} lies outside what the model was trained on: {low:g} to {high:g} mm")
    plan = CohortPlan(pipeline.model_sha256, asked, per_cell, seed, settings, slice_mm, shard_size)
    write_plan(plan, out)
    load = functools.partial(_pipeline_of, plan, model, each.device)
    for _ in each(functools.partial(_fill_shard, plan, out), range(plan.num_shards), "generate (shards)", load):
        pass
    plane = pipeline.config.data.plane
    sources = pipeline.model.training_sources
    page = write_samples_page(plan, trained, out, command, plane, sources)
    counts = close_cohort(plan, trained, out, plane, sources)
    return Cohort(counts, frozenset(cell for cell, seen in trained.items() if seen), page)


def _pipeline_of(plan: CohortPlan, model: Location | None, device: str) -> Pipeline:
    """What the shards of a plan share."""
    pipeline = Pipeline.load(model, device)
    if pipeline.model_sha256 != plan.model_sha256:
        raise InputError(f"the model at {model} changed since the plan was made: use another folder for --out")
    return pipeline


def _fill_shard(plan: CohortPlan, out: Location, pipeline: Pipeline, shard: int) -> None:
    make_shard(pipeline, read_shard(out, shard), plan.sampler, plan.slice_mm, out)
