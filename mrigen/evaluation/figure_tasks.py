"""The costly figures of an evaluation, as independent tasks: each gives the same bits wherever it is done.

A task compares the images of one scope by one extractor, or takes the MS-SSIM of the pairs of one cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mrigen.config import Config
from mrigen.evaluation.described import Found, Looked
from mrigen.evaluation.shards import Plan
from mrigen.images.index import Group
from mrigen.images.scopes import Kind, Scope, all_scopes
from mrigen.labels import Cell, Pathology, all_cells
from mrigen.metrics.comparison import DISTANCES, MIN_IMAGES, compare
from mrigen.metrics.figure import Figure
from mrigen.metrics.image_quality import draw_pairs, pairwise_ms_ssim
from mrigen.metrics.resampling import ImageSet, seeded
from mrigen.threads import one_thread


@dataclass(frozen=True)
class Pairs:
    """MS-SSIM of pairs of one cell's images: the two owners and the value of each."""

    owners: tuple[tuple[str, str], ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """A task: compare the images of a scope by one extractor."""

    scope: Scope
    extractor: str


Judgements = Mapping[Comparison | Cell, Mapping[str, Figure] | Mapping[Group, Pairs]]


def judging_tasks(plan: Plan) -> list[Comparison | Cell]:
    """All that has to be judged, the longest first; a cell stands for its pairs."""
    scopes = all_scopes(plan.untrained)
    return [*(Comparison(scope, name) for scope in scopes for name in plan.extractors), *all_cells()]


class Judge:
    """Does the tasks, on one thread, so that the last bits do not depend on the number of cores."""

    def __init__(self, found: Found, plan: Plan, config: Config, *, split: str, no_samples: str | None = None) -> None:
        """`no_samples` is the reason where nothing at all was generated."""
        self._found, self._plan, self._config = found, plan, config
        self._split, self._no_samples = split, no_samples

    def compare(self, task: Comparison) -> dict[str, Figure]:
        """Each figure of the scope, and with `_floor` in its name the one of real images against real ones."""
        scope, infinity = task.scope, task.scope.kind != Kind.CELL
        number = self._plan.extractors.index(task.extractor)
        held_out, generated, reference = (
            [self._found.get((group, cell), Looked()) for cell in scope.cells]
            for group in (Group.HELD_OUT, Group.GENERATED, Group.REFERENCE)
        )
        counts = matched_counts(scope, held_out, generated, reference)
        missing = self._no_samples or f"no generated image of {_these(scope)}"
        figures: dict[str, Figure] = {}
        with one_thread():
            for others, name, nothing in (
                (generated, "", missing),
                (reference, "_floor", f"no image of {_these(scope)} in the train split"),
            ):
                empty = f"no image of {_these(scope)} in the {self._split} split"
                if reason := _unusable(held_out, empty) or _unusable(others, nothing):
                    judged = {key: Figure.missing(reason, sum(map(len, others))) for key in _names(infinity)}
                else:
                    pairs = list(zip(scope.cells, held_out, others, counts, strict=True))
                    real = image_set([(c, a, len(a) if scope.cell else min(n, len(b))) for c, a, b, n in pairs], number)
                    fake = image_set([(c, b, n) for c, _, b, n in pairs], number)
                    key = (self._config.seed, scope.name, task.extractor, name)
                    judged = compare(real, fake, self._config.evaluation, *key, infinity=infinity)
                figures |= {f"{key}{name}": figure for key, figure in judged.items()}
        return figures

    def pairs(self, cell: Cell) -> dict[Group, Pairs]:
        """MS-SSIM of random pairs of held-out and of generated images, equally many of both where both are there."""
        groups = [group for group in (Group.HELD_OUT, Group.GENERATED) if (group, cell) in self._found]
        limit, drawn = self._config.evaluation.num_pairs, {}
        for _ in range(2):  # the second time no more than the poorer group has
            for group in groups:
                owners = self._found[group, cell].kept_owners
                drawn[group] = draw_pairs(owners, limit, seeded(self._config.seed, "ms-ssim", group, cell))
            limit = min([limit, *(len(pairs) for pairs in drawn.values() if len(pairs))])
        with one_thread():
            return {group: _judged(self._found[group, cell], drawn[group]) for group in groups}

    def __call__(self, task: Comparison | Cell) -> Mapping[str, Figure] | Mapping[Group, Pairs]:
        """Do one task of `judging_tasks`."""
        return self.pairs(task) if isinstance(task, Cell) else self.compare(task)


def matched_counts(
    scope: Scope, held_out: Sequence[Looked], generated: Sequence[Looked], reference: Sequence[Looked]
) -> list[int]:
    """How many images of each cell are compared, generated ones and reference ones alike, so that a figure and its
    floor have the same N. Over several cells, both sides of a comparison take equally many of each cell."""
    counts = []
    for real, made, others in zip(held_out, generated, reference, strict=True):
        both = min(len(made), len(others)) if len(others) >= MIN_IMAGES and len(made) else len(made) or len(others)
        counts.append(both if scope.cell else min(both, len(real)))
    return counts


def image_set(chosen: Sequence[tuple[Cell, Looked, int]], number: int) -> ImageSet:
    """The first images of some cells, as many as stand with each, by the features of extractor `number`."""
    cells = all_cells()
    features, owners, codes, strata = [], [], [], []
    for cell, looked, count in chosen:
        features += [vectors[number] for vectors in looked.features[:count]]
        taken = looked.owners[:count]
        owners += taken
        codes += [cells.index(cell)] * len(taken)
        strata += [list(Pathology).index(cell.pathology)] * len(taken)
    stacked = torch.from_numpy(np.stack(features)) if features else torch.empty(0, 1)
    return ImageSet.of(stacked, owners, codes, strata)


def _judged(looked: Looked, drawn: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Pairs:
    if not len(drawn):
        return Pairs((), ())
    images = torch.from_numpy(np.stack([image for _, image in looked.kept]))[:, None]
    owners = looked.kept_owners
    return Pairs(tuple((owners[i], owners[j]) for i, j in drawn), tuple(pairwise_ms_ssim(images, drawn)))


def _names(infinity: bool) -> list[str]:
    return [name for name in DISTANCES if infinity or name != "fid_infinity"]


def _these(scope: Scope) -> str:
    return "this cell" if scope.cell else "these cells"


def _unusable(looked: Sequence[Looked], nothing: str) -> str | None:
    """Why a group gives no figure, or None: it is empty, or broken images are among it."""
    total, broken = sum(map(len, looked)), sum(one.num_broken for one in looked)
    if not total:
        return nothing
    return f"{broken} of {total} images hold values that are not finite" if broken else None
