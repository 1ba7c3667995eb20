"""A pipeline and a backend without networks."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.serve.api import ModelInfo, Order
from jobs.serve.files import Made, SampleFile, sample_file
from mrigen.config import load_config
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.facts import ModelFacts
from mrigen.volume import Volume

UNTRAINED = Cell.parse("Sclerosis:PD")
MODEL_SHA256 = "0123456789abcdef" * 4


@dataclass(frozen=True)
class FakeSample:
    """Noise of a seed, and the facts that a real sample carries."""

    order: Order
    seed: int

    @property
    def image(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.random.default_rng(self.seed).uniform(-1, 1, (16, 16)).astype(np.float32)

    def volume(self) -> Volume:
        return Volume(((self.image + 1) * 500)[:, :, None], np.diag([3.0, 3.0, 3.0, 1.0]))

    def provenance(self) -> dict[str, Any]:
        return {
            "synthetic": True,
            "generator": "mrigen 0.1.0",
            "pathology": str(self.order.cell.pathology),
            "modality": str(self.order.cell.modality),
            "trained_cell": self.order.cell != UNTRAINED,
            "seed": self.seed,
            "slice_mm": self.order.slice_mm if self.order.slice_mm is not None else self.seed % 40,
            **self.order.sampler.model_dump(mode="json"),
            "model_sha256": self.order.model_sha256,
        }


FACTS = ModelFacts(
    config=load_config("tiny"),
    training_counts={cell: 0 if cell == UNTRAINED else 10 for cell in all_cells()},
    training_sources=(),
    training_licences=(),
    sources=(),
    slice_mm_quantiles=(-20.0, 3.0, 46.0),
    image_limits={},
    sha256=MODEL_SHA256,
)


class FakePipeline:
    """What `describe` asks of a pipeline."""

    def __init__(self, facts: ModelFacts = FACTS) -> None:
        self.model, self.config, self.model_sha256 = facts, facts.config, facts.sha256
        self.training_counts, self.is_trained = facts.training_counts, facts.is_trained


def fake_files(order: Order) -> list[SampleFile]:
    return [sample_file(FakeSample(order, (order.seed * 1000 + k) % 2**64), order, k) for k in range(order.count)]


@dataclass
class FakeBackend:
    """Makes files at once, or fails or dawdles as told."""

    error: Exception | None = None
    delay_s: float = 0.0
    orders: list[Order] = field(default_factory=list)
    cancelled: int = 0
    is_ready: bool = True

    async def make(self, order: Order) -> Made:
        self.orders.append(order)
        try:
            began = time.monotonic()
            while time.monotonic() < began + self.delay_s:  # which a test may shorten meanwhile
                await asyncio.sleep(min(self.delay_s, 0.05))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        batches = math.ceil(order.count / 8)
        return Made(fake_files(order), compute_s=0.15, num_batches=batches, encode_s=0.025, num_places=8 * batches)

    async def ready(self) -> bool:
        return self.is_ready


def order_of(model: ModelInfo, cell: str = "Healthy:FLAIR", **changes: Any) -> Order:
    values: dict[str, Any] = {"count": 1, "seed": 7, "sampler": model.defaults, "slice_mm": None, "format": "png"}
    values["model_sha256"] = model.sha256
    return Order(cell=Cell.parse(cell), **(values | changes))
