"""The steps of an evaluation that tests look between: what is planned, what is seen, and the figures of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from mrigen.config import Config
from mrigen.each import one_by_one
from mrigen.evaluation.described_cells import DescribedImages, sort_by_cell
from mrigen.evaluation.figure_tasks import ComparedImages
from mrigen.evaluation.planning import EvaluationPlan, plan_evaluation
from mrigen.evaluation.rounds import compute_figures
from mrigen.evaluation.shard_describer import ShardDescriber
from mrigen.evaluation.summary import Evaluation, ScopeRow
from mrigen.features.networks import find_networks
from mrigen.images.index import ImageIndex, index_generated, index_real
from mrigen.storage import Location
from tests.fake_run import SIZE


def plan_of(run: Path, config: Config) -> EvaluationPlan:
    real, samples = index_real(Location.parse(run / "data"), "test"), run / "samples"
    generated = index_generated(Location.parse(samples)) if samples.is_dir() else ImageIndex()
    return plan_evaluation(real, generated, config, find_networks(Location.parse(run), config).hashes)


def tables_of(run: Path, plan: EvaluationPlan, config: Config) -> list[pa.Table]:
    describe = ShardDescriber(plan, find_networks(Location.parse(run), config), config)
    return [describe(shard) for shard in plan.shards]


def compared(
    tables: Iterable[pa.Table] | DescribedImages, plan: EvaluationPlan, config: Config, no_samples: str | None = None
) -> ComparedImages:
    described = tables if isinstance(tables, DescribedImages) else sort_by_cell(tables, (SIZE, SIZE))
    return ComparedImages(described, plan, config, "test", no_samples)


def figures_of(
    tables: Iterable[pa.Table] | DescribedImages, plan: EvaluationPlan, config: Config, **known: Any
) -> Evaluation:
    images = compared(tables, plan, config)
    return compute_figures(lambda: images, plan, one_by_one, **known)


def row_named(evaluation: Evaluation, name: object) -> ScopeRow:
    return next(row for row in evaluation.rows if row.name == str(name))
