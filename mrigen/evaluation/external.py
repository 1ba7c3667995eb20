"""Samples against real images of a data set that the model never met: three distances tell the model's error from the
gap between the two data sets.

Samples lie from external images as far as the model's error and the domain gap take them together. The distance of
samples to the run's own held-out images is the first alone, that of own held-out images to external ones the second.
All three take equally many images of every cell from each side, so that they compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrigen.each import Each
from mrigen.evaluation.described_cells import DescribedImages, Slice, num_broken
from mrigen.evaluation.figure_tasks import ComparedImages, ScopeByExtractor, image_set
from mrigen.evaluation.planning import EvaluationPlan
from mrigen.evaluation.summary import spread
from mrigen.images.index import Group
from mrigen.images.scopes import Scope, all_scopes
from mrigen.labels import Cell, all_cells
from mrigen.metrics.comparison import compare, no_distances
from mrigen.metrics.figure import Figure, figures_json, not_finite

PAIRS: Mapping[str, tuple[Group, Group]] = {
    "samples_to_own": (Group.HELD_OUT, Group.GENERATED),
    "samples_to_external": (Group.EXTERNAL, Group.GENERATED),
    "own_to_external": (Group.EXTERNAL, Group.HELD_OUT),
}
"""What is held against what: the first side stands for the real images of a comparison."""
SIDES = (Group.HELD_OUT, Group.EXTERNAL, Group.GENERATED)
_BACKGROUND = -0.94


@dataclass(frozen=True)
class Side:
    """What one side is made of: its images and owners, the heights of its slices, and, over those that were kept, how
    much of an image is not background, and how bright that is on the mean."""

    num_images: int
    num_owners: int
    lowest_mm: float
    highest_mm: float
    foreground: float
    brightness: float


@dataclass(frozen=True)
class ExternalRow:
    """The figures of one scope, named `EXTRACTOR/PAIR/FIGURE`, and the images of each side."""

    scope: Scope
    images: Mapping[str, int]
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class ExternalTest:
    """All of it, the widest scope first."""

    split: str
    extractors: tuple[str, ...]
    sides: Mapping[Group, Side]
    rows: tuple[ExternalRow, ...]
    pictures: Mapping[tuple[Group, Cell], Sequence[Slice]]

    def as_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "split": self.split,
            "extractors": list(self.extractors),
            "sides": {str(group): vars(side) for group, side in self.sides.items()},
            "rows": [
                {
                    "name": row.scope.name,
                    "kind": str(row.scope.kind),
                    "untrained": row.scope.untrained,
                    "images": dict(row.images),
                    "figures": figures_json(row.figures),
                }
                for row in self.rows
            ],
        }


def shared_cells(plan: EvaluationPlan) -> dict[Group, set[Cell]]:
    """The cells of each of the SIDES."""
    found: dict[Group, set[Cell]] = {group: set() for group in SIDES}
    for shard in plan.shards:
        if shard.group in found:
            found[shard.group].update(row.cell for row in shard.rows)
    return found


def external_test(images: ComparedImages, results: Mapping[ScopeByExtractor, Mapping[str, Figure]]) -> ExternalTest:
    """From what was seen of all images, and what `distances` gave for all of `distance_tasks`."""
    described, extractors = images.described, images.plan.extractors
    rows = []
    for scope in _scopes(images.plan):
        figures = {
            f"{extractor}/{name}": figure
            for extractor in extractors
            for name, figure in results[ScopeByExtractor(scope, extractor)].items()
        }
        counts = {str(group): sum(map(len, described.of(group, scope.cells))) for group in SIDES}
        rows.append(ExternalRow(scope, counts, figures))
    pictures = {key: spread(cell, 6) for key, cell in described.groups.items() if cell.values("image")}
    return ExternalTest(
        images.split, extractors, {group: _side(described, group) for group in SIDES}, tuple(rows), pictures
    )


def distance_tasks(plan: EvaluationPlan) -> list[ScopeByExtractor]:
    """Independent tasks: every scope, over the cells that all sides have, by every extractor."""
    return [ScopeByExtractor(scope, name) for scope in _scopes(plan) for name in plan.extractors]


def compute_distances(
    images: Callable[[], ComparedImages], plan: EvaluationPlan, each: Each
) -> dict[ScopeByExtractor, dict[str, Figure]]:
    """The figures of all tasks; `images` reads what was seen."""
    tasks = distance_tasks(plan)
    return {tasks[place]: result for place, result in each(distances, tasks, "compute the distances", images)}


def distances(images: ComparedImages, task: ScopeByExtractor) -> dict[str, Figure]:
    """The three distances of a scope: every figure of `mrigen.metrics.comparison` for each, named `PAIR/FIGURE`."""
    scope, number = task.scope, images.plan.extractors.index(task.extractor)
    cells = {group: images.described.of(group, scope.cells) for group in SIDES}
    counts = [min(map(len, some)) for some in zip(*cells.values(), strict=True)]
    infinity = scope.cell is None
    found: dict[str, Figure] = {}
    for name, (real, other) in PAIRS.items():
        broken, total = num_broken([*cells[real], *cells[other]])
        if reason := not_finite(broken, total):
            figures = no_distances(reason, total, infinity=infinity)
        else:
            first, second = (
                image_set(list(zip(scope.cells, cells[group], counts, strict=True)), number) for group in (real, other)
            )
            key = (images.config.seed, scope.name, task.extractor, name)
            figures = compare(first, second, images.config.evaluation, *key, infinity=infinity)
        found |= {f"{name}/{figure}": value for figure, value in figures.items()}
    return found


def _scopes(plan: EvaluationPlan) -> list[Scope]:
    shared = set.intersection(*shared_cells(plan).values())
    narrowed = (
        replace(scope, cells=tuple(cell for cell in scope.cells if cell in shared))
        for scope in all_scopes(plan.untrained)
    )
    return [scope for scope in narrowed if scope.cells]


def _side(described: DescribedImages, group: Group) -> Side:
    cells = described.of(group, all_cells())
    heights = [row["slice_mm"] for cell in cells for row in cell.rows]
    kept = np.stack([image for cell in cells for image in cell.values("image")])
    inside = kept > _BACKGROUND
    return Side(
        len(heights),
        len({owner for cell in cells for owner in cell.owners()}),
        round(min(heights), 2),
        round(max(heights), 2),
        round(float(inside.mean()), 4),
        round(float(kept[inside].mean(dtype=np.float64)), 4) if inside.any() else -1.0,
    )
