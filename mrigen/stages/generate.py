"""A model to a synthetic data set: samples of any cells in the formats asked for, with a card and a page."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mrigen.cohort.closing import Rejections, close_cohort, is_closed
from mrigen.cohort.estimate import Estimate, estimated, typical_rows
from mrigen.cohort.order import MANY, CohortOrder, Quotas
from mrigen.cohort.plan import PLAN, CohortPlan, SampleRow, planned, read_plan, write_plan
from mrigen.cohort.shard import (
    FORMATS,
    Gate,
    ShardReport,
    make_shard,
    manifest_part,
    missing_shards,
    shard_files,
)
from mrigen.config import SamplerConfig, parse_section
from mrigen.each import Each, Tally
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, all_cells
from mrigen.model_folder.facts import ModelFacts
from mrigen.process.lease import leased
from mrigen.report.samples.page import PAGE, SHOWN, write_samples_page
from mrigen.run import SUCCESS
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.pipeline import Pipeline
    from mrigen.stages.gates import GatePlan, Opener

LARGE = 1000
"""Samples. What fewer of them take is soon known."""


@dataclass(frozen=True)
class Cohort:
    """A finished data set: its samples by cell, the cells among all that the model was trained on, and its page."""

    counts: Mapping[Cell, int]
    trained: frozenset[Cell]
    page: Location
    was_finished: bool
    """Whether it was there already, and nothing was done."""
    rejected: Mapping[str, int]
    """Drawings that could be no scan, by the reason."""
    num_left_out: int
    """Samples of which every drawing was rejected."""
    has_limits: bool
    """Whether the model folder tells how large and bright the training images are, so that drawings are held to it."""


def generate_run(
    out: Location,
    model: Location | None,
    each: Each,
    order: CohortOrder,
    *,
    command: str = "",
    tell: Callable[[Estimate], None] = lambda estimate: None,
) -> Cohort:
    """Fill `out` with what is ordered, by a model folder or the embedded model.

    `command` is what the page says to have made it. `tell` is told what `LARGE` and more samples take: before the
    first is made, and with the seconds of one once a shard is. The same call makes the same bytes with any `each`,
    finishes what a killed one began, and does nothing where all is done; one that orders more adds to what is there.
    Raises InputError for cells that the model never saw, unless they are allowed, settings out of range, an `out` that
    holds anything else, or in which another works, and for so many samples that do not fit its disk.
    """
    facts = ModelFacts.load(model)
    empty, quotas = _understood(order, facts, model, out)
    with leased(out):
        plan = planned(empty, quotas, order.shard_size, out)
        page, was_finished = out / PAGE, is_closed(plan, out)
        if not was_finished:
            timed = None
            missing = missing_shards(plan, out)
            if sum(map(plan.num_rows, missing)) >= LARGE:
                ahead = _estimated(plan, missing, model, out)
                ahead.require_room(out)
                tell(ahead)
                timed = functools.partial(_tell_time, tell, ahead)
            finish_cohort(plan, facts, model, out, each, command, timed)
    closed = (out / SUCCESS).read_json()
    return Cohort(
        counts={Cell.parse(name): count for name, count in closed["cells"].items()},
        trained=frozenset(filter(facts.is_trained, all_cells())),
        page=page,
        was_finished=was_finished,
        rejected=closed["rejected"],
        num_left_out=closed["num_left_out"],
        has_limits=bool(facts.image_limits),
    )


def estimate_run(out: Location, model: Location | None, each: Each, order: CohortOrder) -> Estimate:
    """What `generate_run` would have to do; timed by a batch that a worker makes, after another, and throws away;
    without the gates, which would have to be prepared.

    Nothing is written. Raises InputError as `generate_run` does.
    """
    empty, quotas = _understood(order, ModelFacts.load(model), model, out)
    plan = planned(empty, quotas, order.shard_size, out)
    missing = missing_shards(plan, out)
    load = functools.partial(_pipeline_of, plan, model, (), each.device)
    [(_, seconds)] = each(functools.partial(_timed, plan), [typical_rows(plan, missing)], "warm-up", load)
    return replace(_estimated(plan, missing, model, out), seconds=seconds)


def _estimated(plan: CohortPlan, missing: Sequence[int], model: Location | None, out: Location) -> Estimate:
    from mrigen.pipeline import Pipeline

    return estimated(Pipeline.load(model), plan, missing, out)


def _tell_time(tell: Callable[[Estimate], None], ahead: Estimate, seconds: float) -> None:
    tell(replace(ahead, seconds=seconds))


def _timed(plan: CohortPlan, loaded: _Loaded, rows: Sequence[SampleRow]) -> float:
    """Seconds of a sample."""
    pipeline, gates = loaded
    for _ in range(2):
        started = time.perf_counter()
        for _ in shard_files(pipeline, plan, rows, gates):
            pass
    return (time.perf_counter() - started) / len(rows)


def finish_cohort(
    plan: CohortPlan,
    facts: ModelFacts,
    model: Location | None,
    out: Location,
    each: Each,
    command: str | None = None,
    timed: Callable[[float], None] | None = None,
) -> None:
    """Make what of a plan does not stand whole in `out`, and close it. Without `command` its page stays, if any.
    `facts` are those of `model`; `timed` is told the seconds of a sample once a shard is made. Raises InputError if
    the plan is of another, or the manifest has a part that is of no shard: its readers would take that for some of the
    data set."""
    _require_model_of(plan, facts, model)
    parts = {manifest_part(out, shard).path for shard in range(plan.num_shards)}
    if stray := [file for file in (out / "manifest").files(".parquet") if file.path not in parts]:
        raise InputError(f"{stray[0]} is not of the plan: take it away, and give the same command again")
    gates = _prepared_gates(plan, facts, model, each)
    write_plan(plan, out)
    (out / SUCCESS).delete()
    load = functools.partial(_pipeline_of, plan, model, gates, each.device)
    rejected: Counter[str] = Counter()
    left_out: list[str] = []
    work, tally = functools.partial(_fill_shard, plan, out), Tally(plan.num_samples, ShardReport.tally)
    for _, report in each(work, range(plan.num_shards), "generate (samples)", load, tally):
        rejected.update(report.rejected)
        left_out += report.left_out
        if timed is not None and report.seconds:
            timed(report.seconds / report.num_planned)
            timed = None
    out.sweep()
    trained = {cell: facts.is_trained(cell) for cell in all_cells()}
    plane, sources = facts.config.data.plane, facts.training_sources
    if command is not None or not all((out / name).is_file() for name in SHOWN):
        write_samples_page(plan, trained, out, command, plane, sources)
    close_cohort(plan, facts, out, Rejections(rejected, frozenset(left_out)))


def new_plan(order: CohortOrder, facts: ModelFacts, model: Location | None) -> CohortPlan:
    """What `generate_run` would make of an order in a new folder; `facts` are those of `model`. Raises InputError as
    that does."""
    empty, quotas = _understood(order, facts, model)
    return empty.grown(quotas, order.shard_size)


def _understood(
    order: CohortOrder, facts: ModelFacts, model: Location | None, out: Location | None = None
) -> tuple[CohortPlan, Quotas]:
    """A plan without samples, and the numbers of those ordered; `out` may hold a data set to add to. Raises InputError
    for what the model cannot make."""
    known = [cell for cell in all_cells() if facts.is_trained(cell) or order.allow_untrained]
    quotas = order.quotas(known)
    if not quotas:
        raise InputError("nothing is asked for: no cell has a number above 0")
    formats = order.formats
    if formats is None:
        standing = read_plan(out).formats if out is not None and (out / PLAN).is_file() else None
        formats = standing or (("webdataset",) if sum(quotas.values()) >= MANY else ("bids",))
    if unknown := [name for name in formats if name not in FORMATS]:
        raise InputError(f"--format {unknown[0][:80]!r}: known are {', '.join(FORMATS)}")
    if not order.allow_untrained:
        cells = list(dict.fromkeys(kind.cell for kind in quotas))
        facts.require_trained(cells, "or add --allow-untrained to generate others too, marked")
    facts.require_source(order.source)
    low, high = facts.slice_mm_quantiles[0], facts.slice_mm_quantiles[-1]
    heights = [("--slice-mm", order.slice_mm), *(("--plan: slice_mm", kind.slice_mm) for kind in quotas)]
    for name, height in heights:
        if height is not None and not low <= height <= high:
            raise InputError(f"{name} {height:g} lies outside what the model was trained on: {low:g} to {high:g} mm")
    sampler = facts.config.sampler.model_dump() | dict(order.sampler)
    settings = parse_section(SamplerConfig, sampler)
    shown = tuple(modality for modality in Modality if modality in order.modalities)
    if order.gates and not order.redraws:
        raise InputError("--redraws 0 takes all as they are drawn, and --gates rejects some: leave out one of them")
    gates = _gates(order.gates, model, facts, list(dict.fromkeys(kind.cell for kind in quotas)))
    plan = CohortPlan(
        facts.sha256,
        order.seed,
        settings,
        order.slice_mm,
        tuple(sorted(set(formats))),
        order.redraws,
        shown,
        gates.hashes if gates else {},
        order.source,
    )
    return plan, quotas


def _gates(names: Collection[str], model: Location | None, facts: ModelFacts, cells: Sequence[Cell]) -> GatePlan | None:
    if not names:
        return None
    from mrigen.stages.gates import plan_gates  # loads torch

    return plan_gates(names, model, facts.config, cells)


def _prepared_gates(plan: CohortPlan, facts: ModelFacts, model: Location | None, each: Each) -> Sequence[Opener]:
    """What opens the gates of a plan. Raises InputError if the data behind them are not what they were."""
    gates = _gates(plan.gates, model, facts, list(plan.counts))
    if gates is None:
        return ()
    if gates.hashes != plan.gates:
        raise InputError(f"the real images beside {model} are not those that the gates of this data set are by")
    return gates.prepared(list(plan.counts), each)


_Loaded = tuple["Pipeline", Sequence[Gate]]
"""What the shards of a plan share."""


def _pipeline_of(plan: CohortPlan, model: Location | None, gates: Sequence[Opener], device: str) -> _Loaded:
    from mrigen.pipeline import Pipeline

    pipeline = Pipeline.load(model, device)
    _require_model_of(plan, pipeline.model, model)
    return pipeline, [gate(device) for gate in gates]


def _require_model_of(plan: CohortPlan, facts: ModelFacts, model: Location | None) -> None:
    if facts.sha256 != plan.model_sha256:
        named = model or "the embedded model"
        raise InputError(f"{named} has hash {facts.sha256[:12]}, the plan is of {plan.model_sha256[:12]}")


def _fill_shard(plan: CohortPlan, out: Location, loaded: _Loaded, shard: int) -> ShardReport:
    pipeline, gates = loaded
    return make_shard(pipeline, plan, shard, out, gates)
