"""What an evaluation compares: which images of which cell, cut into shards that do not depend on who works.

Choices are made by hashes of the images' ids, so they do not change with the order of files or rows. A shard holds
images of one group, and its key names all that its file depends on: those of real images are good for the next
evaluation too, whatever it compares them with.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrigen import __version__
from mrigen.config import Config, EvaluationConfig
from mrigen.errors import InputError
from mrigen.features.names import EFFICIENTNET
from mrigen.images.index import Group, ImageIndex, ImageRow, content_hash, in_file_order, joined
from mrigen.images.labelled import choose_per_cell
from mrigen.labels import Cell, all_cells
from mrigen.metrics.image_quality import MIN_SIDE
from mrigen.model_folder.card import shows_brains_alone
from mrigen.storage import Location

MAX_PER_CELL = 2000
"""Images of a cell that are looked at, from each group."""
SHARD_ROWS = 128
"""Images of one shard, the unit of work and of resumption."""


@dataclass(frozen=True)
class ImageShard:
    """Images of one group, the unit of work. `key` is a hash of their content and of how they are looked at."""

    group: Group
    rows: tuple[ImageRow, ...]
    key: str


@dataclass(frozen=True)
class EvaluationPlan:
    """The images to look at, in shards: held-out, reference, generated, external. `extractors` name the features taken,
    and `identities` tell what each of those asked for depends on."""

    files: tuple[Location, ...]
    shards: tuple[ImageShard, ...]
    untrained: frozenset[Cell]
    extractors: tuple[str, ...]
    identities: Mapping[str, str]
    held_out: str
    """A hash of the images that all others are held against."""
    brains_alone: bool
    """Whether the images are known to show no skull."""


def plan_evaluation(
    real: ImageIndex, generated: ImageIndex, config: Config, networks: Mapping[str, str]
) -> EvaluationPlan:
    """Choose images cell by cell and cut them into shards, in the order in which the files hold them.

    Of each cell at most MAX_PER_CELL a group are taken, and as many reference images as there are
    generated ones (as held-out ones, where none were generated). `networks` are hashes of those of the run, as
    `mrigen.features.networks.Networks` has them. Raises InputError if real and generated images differ in shape, or
    are too small for SSIM.
    """
    images = joined(real, generated)
    if real.shape and min(real.shape) < MIN_SIDE:
        raise InputError(f"images of {min(real.shape)} pixels are too small to evaluate: {MIN_SIDE} are needed")
    by_group: dict[tuple[Group, Cell], list[ImageRow]] = defaultdict(list)
    for row in images.rows:
        by_group[row.group, row.cell].append(row)
    chosen: dict[Group, list[ImageRow]] = {group: [] for group in Group}
    pool = math.ceil(math.sqrt(8 * config.evaluation.num_pairs)) + 1  # gives four times as many pairs as asked for
    for cell in all_cells():
        held_out = choose_per_cell(by_group[Group.HELD_OUT, cell], MAX_PER_CELL)
        samples = choose_per_cell(by_group[Group.GENERATED, cell], MAX_PER_CELL)
        reference = choose_per_cell(by_group[Group.REFERENCE, cell], len(samples) or len(held_out))
        chosen[Group.HELD_OUT] += _keep(held_out, pool)
        chosen[Group.REFERENCE] += reference if held_out else []
        chosen[Group.GENERATED] += _keep(samples, pool)
        chosen[Group.EXTERNAL] += _keep(choose_per_cell(by_group[Group.EXTERNAL, cell], MAX_PER_CELL), pool)
    depends = {EFFICIENTNET: f"imagenet, {config.evaluation.feature_size} pixels", **networks}
    identities = extractor_identities(config.evaluation, depends)
    brains_alone = shows_brains_alone(config.data, real.provenance.get("source", ()))
    looks = {
        "version": __version__,
        "brains_alone": brains_alone,
        "networks": dict(sorted(networks.items())),
        "extractors": identities,
    }
    return EvaluationPlan(
        images.files,
        tuple(shard for group in Group for shard in _cut(group, chosen[group], images.hashes, looks)),
        _untrained(by_group, config),
        tuple(name for name in identities if name in depends),
        identities,
        hashlib.sha256("\n".join(sorted(row.id + row.sha256 for row in chosen[Group.HELD_OUT])).encode()).hexdigest(),
        brains_alone,
    )


def extractor_identities(settings: EvaluationConfig, depends: Mapping[str, str]) -> dict[str, str]:
    """What each extractor's features depend on, as a short hash: features of one identity compare, others do not."""
    return {
        name: hashlib.sha256(f"{name}: {depends.get(name, 'none')}".encode()).hexdigest()[:16]
        for name in settings.extractors
    }


def _untrained(by_group: dict[tuple[Group, Cell], list[ImageRow]], config: Config) -> frozenset[Cell]:
    """The cells that the model never saw: as its samples say, else as the run's configuration and data do."""
    found = set()
    for cell in all_cells():
        if samples := by_group.get((Group.GENERATED, cell)):
            unseen = not all(row.trained for row in samples)
        else:
            unseen = str(cell) in config.held_out_cells or not by_group.get((Group.REFERENCE, cell))
        if unseen:
            found.add(cell)
    return frozenset(found)


def _keep(rows: Sequence[ImageRow], count: int) -> list[ImageRow]:
    """Mark `count` rows as kept, of as many owners as possible: every owner's first, then the second ..."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for position, row in enumerate(rows):
        turns.append((seen[row.owner], position))
        seen[row.owner] += 1
    kept = {position for _, position in sorted(turns)[:count]}
    return [replace(row, kept=position in kept) for position, row in enumerate(rows)]


def _cut(
    group: Group, rows: Sequence[ImageRow], hashes: Sequence[str], looks: Mapping[str, Any]
) -> Iterator[ImageShard]:
    ordered = in_file_order(rows)
    for start in range(0, len(ordered), SHARD_ROWS):
        some = ordered[start : start + SHARD_ROWS]
        images = [[hashes[row.file], row.row, row.id, row.kept] for row in some]
        yield ImageShard(group, tuple(some), content_hash({**looks, "group": group, "images": images})[:32])
