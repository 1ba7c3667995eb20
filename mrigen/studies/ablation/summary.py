"""The figures of an ablation, from the parts of all its shards."""

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
from mrigen.images.index import Group
from mrigen.images.scopes import Scope, ScopeKind
from mrigen.labels import Cell
from mrigen.metrics.figure import Figure
from mrigen.studies.ablation.settings import Drop, Setting
from mrigen.studies.ablation.shards import AblationPlan, extractor_names, read_scored
from mrigen.threads import one_thread

Slice = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Ablation:
    """Figures (`EXTRACTOR/kid`, `pathology`, `modality`) of every setting, the model's own first, and what real images
    reach: training images in KID, held-out ones in accuracy, for the judge knows the others by heart. Of each cell one
    sample by setting."""

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
        """`{"verdict", "model_sha256", "cells", "samples_per_cell", "extractors", "floor", "settings": [...]}`."""
        return {
            "verdict": self.verdict(),
            "model_sha256": self.model_sha256,
            "cells": [str(cell) for cell in self.cells],
            "samples_per_cell": self.per_cell,
            "extractors": list(extractor_names()),
            "floor": {name: figure.as_json() for name, figure in self.floor.items()},
            "settings": [
                {**setting.as_json(), "figures": {name: figure.as_json() for name, figure in figures.items()}}
                for setting, figures in self.rows.items()
            ],
        }

    def verdict(self) -> list[str]:
        """What leaving something out costs, a sentence each."""
        own, said = self.rows[self.own], []
        unguided = self._find(Drop.NOTHING, guidance_scale=1.0)
        for setting, what, target in (
            (self._find(Drop.PATHOLOGY), "the pathology", "pathology"),
            (self._find(Drop.MODALITY), "the modality", "modality"),
            (unguided, "guidance", "pathology"),
        ):
            if setting is None or setting == self.own:
                continue
            figures = self.rows[setting]
            names = {f"{name}/kid": f"KID by {name}" for name in extractor_names()} | {
                target: f"accuracy of the {target}"
            }
            pairs = [(label, own[name], figures[name]) for name, label in names.items()]
            changes = [
                f"{label} goes from {before.value:.3f} to {after.value:.3f}{_overlap(before, after)}"
                for label, before, after in pairs
                if before.value is not None and after.value is not None
            ]
            if changes:
                said.append(f"Without {what}, {', '.join(changes)}.")
        reasons = {own[f"{name}/kid"].reason for name in extractor_names()} - {None}
        said += [f"There is no KID: {reason}." for reason in sorted(map(str, reasons))]
        return said or ["No figure could be taken: see the reasons."]

    def _find(self, drop: Drop, **changes: Any) -> Setting | None:
        wanted = Setting(self.own.sampler.model_copy(update=changes), drop)
        return wanted if wanted in self.rows else None


def _overlap(first: Figure, second: Figure) -> str:
    """What to add where the intervals of two figures overlap."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return " (no interval)"
    return "" if first.low > second.high or second.low > first.high else " (their intervals overlap)"


@one_thread()  # else the last bits would depend on the machine
def summarise(plan: AblationPlan, tables: Sequence[pa.Table], counts: Mapping[Cell, int], config: Config) -> Ablation:
    """All figures; `tables` are the parts of the plan's shards in their order, `counts` the judge's training images."""
    parts: dict[tuple[Group, Setting | None], list[ScoredImages]] = defaultdict(list)
    pictures: dict[Setting, dict[Cell, Slice]] = defaultdict(dict)
    for shard, table in zip(plan.shards, tables, strict=True):
        parts[shard.group, shard.setting].append(read_scored(table))
        for row in table.select(["cell", "image"]).to_pylist():
            if shard.setting and row["image"] is not None:
                pixels = np.frombuffer(row["image"], np.float16).reshape(plan.index.shape or ()).astype(np.float32)
                pictures[shard.setting].setdefault(Cell.parse(row["cell"]), pixels)
    real = joined(parts[Group.HELD_OUT, None])
    empty = real.of(set())
    training = joined(parts.get((Group.REFERENCE, None), [empty]))
    distances = {
        name: figure
        for name, figure in _figures(real, training, counts, config, "floor").items()
        if name not in TARGETS
    }
    accuracies = {
        name: figure for name, figure in _figures(real, real, counts, config, "held out").items() if name in TARGETS
    }
    return Ablation(
        floor=distances | accuracies,
        rows={
            setting: _figures(real, joined(parts[Group.GENERATED, setting]), counts, config, setting.as_json())
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
    figures = {f"{name}/kid": kid_figure(real, some, name, num_draws, key) for name in extractor_names()}
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
