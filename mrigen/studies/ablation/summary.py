"""The figures of an ablation, from what was seen of all its shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mrigen.condition_classifier.fidelity import TARGETS, accuracy, nothing_learned
from mrigen.config import Config
from mrigen.evaluation.answered_images import ScoredImages, joined, kid_figure
from mrigen.evaluation.described_cells import Slice
from mrigen.images.index import Group
from mrigen.images.scopes import Scope, ScopeKind
from mrigen.labels import Cell
from mrigen.metrics.figure import Figure, figures_json
from mrigen.process.threads import one_thread
from mrigen.studies.ablation.looking import EXTRACTORS, read_scored
from mrigen.studies.ablation.settings import Drop, Setting
from mrigen.studies.ablation.shards import AblationPlan


@dataclass(frozen=True)
class Ablation:
    """Figures (`EXTRACTOR/kid`, `pathology`, `modality`) of every setting, the model's own first, and what real images
    reach: training images in KID, held-out ones in accuracy, for the classifier knows the others by heart. Of each cell
    one sample by setting."""

    floor: Mapping[str, Figure]
    rows: Mapping[Setting, Mapping[str, Figure]]
    cells: tuple[Cell, ...]
    per_cell: int
    model_sha256: str
    pictures: Mapping[Setting, Mapping[Cell, Slice]]

    @property
    def own(self) -> Setting:
        """The setting that the model is used with."""
        return next(iter(self.rows))

    def as_json(self) -> dict[str, Any]:
        """`{"model_sha256", "cells", "samples_per_cell", "extractors", "floor", "settings": [...]}`."""
        return {
            "model_sha256": self.model_sha256,
            "cells": [str(cell) for cell in self.cells],
            "samples_per_cell": self.per_cell,
            "extractors": list(EXTRACTORS),
            "floor": figures_json(self.floor),
            "settings": [
                {**setting.as_json(), "figures": figures_json(figures)} for setting, figures in self.rows.items()
            ],
        }

    def setting(self, drop: Drop, **changes: Any) -> Setting | None:
        """The model's own setting but for what is dropped or changed, if it was tried."""
        wanted = Setting(self.own.sampler.model_copy(update=changes), drop)
        return wanted if wanted in self.rows else None


@one_thread()  # else the last bits would depend on the machine
def summarise(plan: AblationPlan, tables: Sequence[pa.Table], counts: Mapping[Cell, int], config: Config) -> Ablation:
    """All figures; `tables` are what was seen of the plan's shards in their order, `counts` the training images of the
    condition classifier."""
    scored: dict[tuple[Group, Setting | None], list[ScoredImages]] = defaultdict(list)
    pictures: dict[Setting, dict[Cell, Slice]] = defaultdict(dict)
    for shard, table in zip(plan.shards, tables, strict=True):
        scored[shard.group, shard.setting].append(read_scored(table))
        for row in table.select(["cell", "image"]).to_pylist():
            if shard.setting and row["image"] is not None:
                pixels = np.frombuffer(row["image"], np.float16).reshape(plan.index.shape or ()).astype(np.float32)
                pictures[shard.setting].setdefault(Cell.parse(row["cell"]), pixels)
    real = joined(scored[Group.HELD_OUT, None])
    empty = real.of(set())
    training = joined(scored.get((Group.REFERENCE, None), [empty]))
    floor = _figures(real, training, counts, config, "floor")
    held_out = _figures(real, real, counts, config, "held out")
    return Ablation(
        floor=floor | {target: held_out[target] for target in TARGETS},
        rows={
            setting: _figures(real, joined(scored[Group.GENERATED, setting]), counts, config, setting.as_json())
            for setting in plan.settings
        },
        cells=plan.cells,
        per_cell=config.studies.samples_per_cell,
        model_sha256=plan.model_sha256,
        pictures=dict(pictures),
    )


def _figures(
    real: ScoredImages, some: ScoredImages, counts: Mapping[Cell, int], config: Config, *key: object
) -> dict[str, Figure]:
    num_draws, key = config.evaluation.num_bootstraps, (config.seed, "ablation", *key)
    figures = {f"{name}/kid": kid_figure(real, some, name, num_draws, key) for name in EXTRACTORS}
    known = some.of({cell for cell in some.cells if counts.get(cell)})
    scope = Scope("ablation", ScopeKind.OVERALL, tuple(known.cells))
    for target in TARGETS:
        if reason := nothing_learned(real.answers, target, counts):
            figures[target] = Figure.missing(reason, len(known))
        elif not len(known):
            figures[target] = Figure.missing("no image of a cell that the classifier was trained on", 0)
        else:
            figures[target] = accuracy(known.answers, scope, target, num_draws, *key, target)
    return figures
