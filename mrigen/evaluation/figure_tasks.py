"""The costly figures of an evaluation, as independent tasks: each gives the same bits wherever it is done.

A task compares the images of one scope by one extractor, or takes the MS-SSIM of the pairs of one cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mrigen.config import Config
from mrigen.evaluation.described_cells import DescribedCell, DescribedImages, num_broken
from mrigen.evaluation.planning import EvaluationPlan
from mrigen.images.index import Group
from mrigen.images.labelled import cell_codes, pathology_codes
from mrigen.images.scopes import Scope, all_scopes
from mrigen.labels import Cell, all_cells
from mrigen.metrics.comparison import MIN_IMAGES, compare, compare_by_kid, limited, no_distances
from mrigen.metrics.figure import Figure, not_finite
from mrigen.metrics.image_quality import draw_pairs, pairwise_ms_ssim
from mrigen.metrics.kernel import kid_widths
from mrigen.metrics.resampling import ImageSet, seeded


@dataclass(frozen=True)
class PairLikeness:
    """MS-SSIM of pairs of one cell's images: the two owners and the value of each."""

    owners: tuple[tuple[str, str], ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class ScopeByExtractor:
    """A task: compare the images of a scope by one extractor."""

    scope: Scope
    extractor: str


@dataclass(frozen=True)
class ComparedImages:
    """What figures are computed from: all that was seen of the images, and how they were chosen."""

    described: DescribedImages
    plan: EvaluationPlan
    config: Config
    split: str
    no_samples: str | None = None
    """The reason, where nothing at all was generated."""


TaskResults = Mapping[ScopeByExtractor | Cell, Mapping[str, Figure] | Mapping[Group, PairLikeness]]


def figure_tasks(plan: EvaluationPlan) -> list[ScopeByExtractor | Cell]:
    """All tasks, the longest first; a cell stands for its pairs."""
    scopes = all_scopes(plan.untrained)
    return [*(ScopeByExtractor(scope, name) for scope in scopes for name in plan.extractors), *all_cells()]


def do_task(
    images: ComparedImages, task: ScopeByExtractor | Cell
) -> Mapping[str, Figure] | Mapping[Group, PairLikeness]:
    """Do one of the `figure_tasks`."""
    return pair_likeness(images, task) if isinstance(task, Cell) else scope_figures(images, task)


def scope_figures(images: ComparedImages, task: ScopeByExtractor) -> dict[str, Figure]:
    """Each figure of a scope, and with `_floor` in its name the one of real images against real ones.

    By the leading extractor also `kid_restored`, of held-out images as the autoencoder restores them. It is taken
    against images of the train split, as the floor is: of one subject on both sides, it would come out too low.
    """
    scope, number = task.scope, images.plan.extractors.index(task.extractor)
    infinity = scope.cell is None
    held_out, generated, reference = (
        images.described.of(group, scope.cells) for group in (Group.HELD_OUT, Group.GENERATED, Group.REFERENCE)
    )
    counts = matched_counts(scope, held_out, generated, reference)
    figures: dict[str, Figure] = {}
    for others, suffix, nothing in (
        (generated, "", images.no_samples or f"no generated image of {scope.these}"),
        (reference, "_floor", f"no image of {scope.these} in the train split"),
    ):
        empty = f"no image of {scope.these} in the {images.split} split"
        if reason := _unusable(held_out, empty) or _unusable(others, nothing):
            found = no_distances(reason, sum(map(len, others)), infinity=infinity)
        else:
            rows = list(zip(scope.cells, held_out, others, counts, strict=True))
            real = image_set([(c, a, min(n, len(b)) if infinity else len(a)) for c, a, b, n in rows], number)
            fake = image_set([(c, b, n) for c, _, b, n in rows], number)
            key = (images.config.seed, scope.name, task.extractor, suffix)
            found = compare(real, fake, images.config.evaluation, *key, infinity=infinity)
            if number == 0 and scope.cell and not suffix and found["kid"].interval:
                figures |= kid_widths(limited(real), limited(fake), seeded(*key, "widths"))
        figures |= {f"{name}{suffix}": figure for name, figure in found.items()}
    if number == 0 and not num_broken([*held_out, *reference])[0] and any(c.values("psnr") for c in held_out):
        rows = list(zip(scope.cells, held_out, reference, counts, strict=True))
        real = image_set([(c, b, n) for c, _, b, n in rows], number)
        fake = image_set([(c, a, n) for c, a, _, n in rows], number, "restored_features")
        key = (images.config.seed, scope.name, task.extractor, "restored")
        figures["kid_restored"] = compare_by_kid(real, fake, images.config.evaluation, *key)
    return figures


def pair_likeness(images: ComparedImages, cell: Cell) -> dict[Group, PairLikeness]:
    """MS-SSIM of random pairs of held-out and of generated images, equally many of both where both are there."""
    by_group = {group: images.described.of(group, [cell])[0] for group in (Group.HELD_OUT, Group.GENERATED)}
    by_group = {group: described for group, described in by_group.items() if len(described)}
    limit, drawn = images.config.evaluation.num_pairs, {}
    for _ in range(2):  # the second time no more than the poorer group has
        for group, described in by_group.items():
            generator = seeded(images.config.seed, "ms-ssim", group, cell)
            drawn[group] = draw_pairs(described.owners("image"), limit, generator)
        limit = min([limit, *(len(pairs) for pairs in drawn.values() if len(pairs))])
    return {group: _likeness(described, drawn[group]) for group, described in by_group.items()}


def matched_counts(
    scope: Scope,
    held_out: Sequence[DescribedCell],
    generated: Sequence[DescribedCell],
    reference: Sequence[DescribedCell],
) -> list[int]:
    """How many images of each cell are compared, generated ones and reference ones alike, so that a figure and its
    floor have the same N. Over several cells, both sides of a comparison take equally many of each cell."""
    counts = []
    for real, made, others in zip(held_out, generated, reference, strict=True):
        both = min(len(made), len(others)) if len(others) >= MIN_IMAGES and len(made) else len(made) or len(others)
        counts.append(both if scope.cell else min(both, len(real)))
    return counts


def image_set(chosen: Sequence[tuple[Cell, DescribedCell, int]], number: int, column: str = "features") -> ImageSet:
    """The first images of some cells, as many as stand with each, by the features of extractor `number`."""
    features = [vectors[number] for _, described, count in chosen for vectors in described.values(column)[:count]]
    named = [(owner, cell) for cell, described, count in chosen for owner in described.owners()[:count]]
    cells = [cell for _, cell in named]
    stacked = torch.from_numpy(np.stack(features)) if features else torch.empty(0, 1)
    return ImageSet.of(stacked, [owner for owner, _ in named], cell_codes(cells), pathology_codes(cells))


def _likeness(described: DescribedCell, drawn: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> PairLikeness:
    if not len(drawn):
        return PairLikeness()
    images, owners = torch.from_numpy(np.stack(described.values("image")))[:, None], described.owners("image")
    return PairLikeness(tuple((owners[i], owners[j]) for i, j in drawn), tuple(pairwise_ms_ssim(images, drawn)))


def _unusable(cells: Sequence[DescribedCell], nothing: str) -> str | None:
    """Why a group gives no figure, or None: it is empty, or broken images are among it."""
    broken, total = num_broken(cells)
    return not_finite(broken, total) if total else nothing
