"""The figures of the study of spaces."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mrigen.config import Config
from mrigen.evaluation.described_cells import Slice
from mrigen.features.names import EFFICIENTNET
from mrigen.images.labelled import cell_codes, pathology_codes
from mrigen.labels import Cell
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import mean_cell_kid
from mrigen.metrics.resampling import ImageSet, seeded
from mrigen.process.threads import one_thread
from mrigen.studies.spaces.plan import Source, SpaceCost, SpaceShard, SpacesPlan, SpaceTraining
from mrigen.training.journal import step_seconds


@dataclass(frozen=True)
class Spaces:
    """The whole study: what each space takes, and the KID of its samples along two trainings of its own."""

    minutes: float
    costs: Mapping[str, SpaceCost]
    latent_shapes: Mapping[str, tuple[int, ...]]
    trainings: Mapping[str, Sequence[SpaceTraining]]
    """By what they have in common: `same_time` and `same_steps`, each in the order of the spaces."""
    took_s: Mapping[SpaceTraining, float]
    """Seconds that a denoiser was trained for indeed."""
    kid: Mapping[Source, Figure]
    cells: tuple[Cell, ...]
    per_cell: int
    pictures: Mapping[Source, Mapping[Cell, Slice]]

    def restored(self, space: str) -> Figure:
        """The KID of real training images, as the codec of the space restores them: the best that it can reach."""
        return self.kid[Source(space)]

    def curve(self, training: SpaceTraining) -> list[tuple[int, float, Figure]]:
        """Steps, seconds of the whole training by the steps that were timed, and KID, after each mark."""
        sources = [(mark, Source(training.space, training.num_steps, mark)) for mark in training.marks]
        return [(mark, self.costs[training.space].seconds(mark), self.kid[source]) for mark, source in sources]

    def end(self, training: SpaceTraining) -> Figure:
        """The KID at the end of a training."""
        return self.curve(training)[-1][2]

    def as_json(self) -> dict[str, Any]:
        """`{"space_minutes", "cells", "samples_per_cell", "extractor", "spaces": {...}, "same_time": [...],
        "same_steps": [...]}`; times in seconds, of `took_s` the denoiser's alone."""
        return {
            "space_minutes": self.minutes,
            "cells": [str(cell) for cell in self.cells],
            "samples_per_cell": self.per_cell,
            "extractor": EFFICIENTNET,
            "spaces": {
                space: {
                    "latent_shape": list(self.latent_shapes[space]),
                    **asdict(cost),
                    "kid_restored": self.restored(space).as_json(),
                }
                for space, cost in self.costs.items()
            },
            **{
                name: [
                    {
                        "space": training.space,
                        "num_steps": training.num_steps,
                        "took_s": self.took_s[training],
                        "curve": [
                            {"step": step, "seconds": seconds, "kid": figure.as_json()}
                            for step, seconds, figure in self.curve(training)
                        ],
                    }
                    for training in some
                ]
                for name, some in self.trainings.items()
            },
        }


def median_figure(values: Sequence[float]) -> Figure:
    """The median of independent values, and their range: of n values it holds the median of all with the probability
    1 - 2^(1 - n), 97 % of six."""
    return Figure.of(statistics.median(values), len(values), (min(values), max(values)))


@one_thread()  # else the last bits would depend on the machine
def summarise(
    plan: SpacesPlan,
    trainings: Mapping[str, Sequence[SpaceTraining]],
    shards: Sequence[SpaceShard],
    tables: Sequence[pa.Table],
    config: Config,
) -> Spaces:
    """All figures; `tables` are what was seen of the `shards`, in their order."""
    seen: dict[Source, list[pa.Table]] = defaultdict(list)
    pictures: dict[Source, dict[Cell, Slice]] = defaultdict(dict)
    for shard, table in zip(shards, tables, strict=True):
        seen[shard.source].append(table)
        for row in table.select(["cell", "image"]).to_pylist():
            if row["image"] is not None:
                pixels = np.frombuffer(row["image"], np.float16).reshape(plan.index.shape or ()).astype(np.float32)
                pictures[shard.source].setdefault(Cell.parse(row["cell"]), pixels)
    sets = {source: _image_set(pa.concat_tables(some)) for source, some in seen.items()}
    real = sets.pop(Source())
    draws = config.evaluation.num_bootstraps
    kid = {
        source: mean_cell_kid(real, images, draws, seeded(config.seed, "spaces", str(source))).figure(len(images))
        for source, images in sets.items()
    }
    took = {
        training: sum(
            seconds
            for _, seconds in step_seconds(
                plan.training_run(training) / "ldm", plan.training_config(training).denoiser.training
            )
        )
        for some in trainings.values()
        for training in some
    }
    return Spaces(
        minutes=config.studies.space_minutes,
        costs=plan.read_costs(),
        latent_shapes={space: one.latent_shape for space, one in plan.configs.items()},
        trainings=trainings,
        took_s=took,
        kid=kid,
        cells=plan.cells,
        per_cell=config.studies.samples_per_cell,
        pictures=dict(pictures),
    )


def _image_set(table: pa.Table) -> ImageSet:
    cells = [Cell.parse(name) for name in table["cell"].to_pylist()]
    vectors = np.stack([np.frombuffer(row, np.float32) for row in table["features"].to_pylist()]).astype(np.float64)
    return ImageSet.of(torch.from_numpy(vectors), table["owner"].to_pylist(), cell_codes(cells), pathology_codes(cells))
