"""What each condition, guidance and each solver step is good for: generation is done again without it.

Every setting generates the same cells from the same seeds, so that settings differ in nothing else. The images are
held against held-out real ones by KID within each cell, and the condition classifier names what they show. Real
training images go the same way as the samples: they give the floor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mrigen import __version__
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, content_hash, in_file_order
from mrigen.images.labelled import choose_per_cell
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.files import Model
from mrigen.studies.ablation.settings import Setting, plan_settings

REAL_PER_CELL = 64
"""Held-out images of a cell that samples are compared with."""
SHARD_ROWS = 64


@dataclass(frozen=True)
class AblationShard:
    """The unit of work: real images of one group, or samples of one setting as (cell, number of the sample)."""

    group: Group
    rows: tuple[ImageRow, ...] = ()
    setting: Setting | None = None
    samples: tuple[tuple[Cell, int], ...] = ()
    key: str = field(default="", compare=False)

    @property
    def ids(self) -> list[str]:
        """A name for every image, in the order in which they are looked at."""
        return [row.id for row in self.rows] or [f"{cell}-{number}" for cell, number in self.samples]


@dataclass(frozen=True)
class AblationPlan:
    """All that is generated and looked at."""

    index: ImageIndex
    settings: tuple[Setting, ...]
    cells: tuple[Cell, ...]
    shards: tuple[AblationShard, ...]
    model_sha256: str

    @property
    def lone_cells(self) -> list[Cell]:
        """Cells with held-out images of one subject only: with any of them there is no KID of all cells."""
        owners: dict[Cell, set[str]] = {cell: set() for cell in self.cells}
        for shard in self.shards:
            for row in shard.rows:
                if row.group == Group.HELD_OUT:
                    owners[row.cell].add(row.owner)
        return [cell for cell, names in owners.items() if len(names) == 1]


def plan_ablation(index: ImageIndex, model: Model, config: Config, classifier_key: str) -> AblationPlan:
    """Plan for the cells that the model was trained on and that have held-out real images; `index` holds both splits.

    Raises InputError if there is no such cell, or an image has another shape than the model's.
    """
    size = model.config.data.image_size
    if index.shape and set(index.shape) != {size}:
        raise InputError(
            f"the model makes images of {size} x {size} pixels and the real ones have shape {list(index.shape)}: "
            "ablate a model that was trained on this data"
        )
    held_out = [row for row in index.rows if row.group == Group.HELD_OUT]
    both = {row.cell for row in held_out if model.training_counts.get(row.cell)}
    cells = tuple(cell for cell in all_cells() if cell in both)
    if not cells:
        raise InputError("no cell that the model was trained on has held-out real images: nothing to compare with")
    count = config.studies.samples_per_cell
    reference = [row for row in index.rows if row.group == Group.REFERENCE]
    real = (
        (Group.HELD_OUT, choose_per_cell([row for row in held_out if row.cell in cells], REAL_PER_CELL)),
        (Group.REFERENCE, choose_per_cell([row for row in reference if row.cell in cells], count)),
    )
    samples = [(cell, number) for cell in cells for number in range(count)]
    settings = tuple(plan_settings(config))
    shards = [
        *(AblationShard(group, tuple(in_file_order(some))) for group, rows in real for some in _cut(rows)),
        *(AblationShard(Group.GENERATED, (), one, tuple(some)) for one in settings for some in _cut(samples)),
    ]
    looks = {
        "version": __version__,
        "seed": config.seed,
        "model": model.sha256,
        "classifier": classifier_key,
        "feature_size": config.evaluation.feature_size,
    }
    keyed = tuple(dataclasses.replace(shard, key=_key(shard, looks)) for shard in shards)
    return AblationPlan(dataclasses.replace(index, rows=()), settings, cells, keyed, model.sha256)


def _cut(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + SHARD_ROWS] for start in range(0, len(items), SHARD_ROWS)]


def _key(shard: AblationShard, looks: Mapping[str, Any]) -> str:
    """A hash of all that is seen of a shard's images; for real images that is neither model nor seed."""
    if shard.setting is None:
        some = {name: looks[name] for name in ("version", "classifier", "feature_size")}
        content = {**some, "rows": [[row.id, row.sha256, str(row.cell)] for row in shard.rows]}
    else:
        sampler = shard.setting.sampler.model_dump(mode="json")
        samples = [[str(cell), number] for cell, number in shard.samples]
        content = {**looks, "sampler": sampler, "drop": str(shard.setting.drop), "samples": samples}
    return content_hash(content)[:32]
