"""What is told to operators, in Prometheus' format."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from jobs.serve.api import ModelInfo, Order
from jobs.serve.files import Made
from mrigen.labels import Cell

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Meter:
    """What this server has answered, in a registry of its own; labels are few and never a client's words."""

    def __init__(self, models: Sequence[ModelInfo]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they are another line for each figure
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mrigen_http_requests", "Answers given.", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "mrigen_http_request_seconds",
            "From the headers to the end of the answer.",
            ["route"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._samples = Counter(
            "mrigen_samples", "Samples made.", ["sha256", "pathology", "modality"], registry=self._registry
        )
        self._ongoing = Gauge("mrigen_samples_ongoing", "Samples that wait or are computed.", registry=self._registry)
        self._stages = Histogram(
            "mrigen_stage_seconds",
            "Of an order for samples: computing, encoding its files, and queue, which is all the rest.",
            ["stage"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._places = Counter(
            "mrigen_batch_places", "Places of compute batches, by what they held.", ["held"], registry=self._registry
        )
        facts = Gauge("mrigen_model", "1; the labels name a model.", ["name", "sha256"], registry=self._registry)
        for model in models:
            facts.labels(model.name, model.sha256).set(1)

    def note_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """An answer was given."""
        self._requests.labels(route, method if method in ("GET", "HEAD", "POST") else "other", status).inc()
        self._seconds.labels(route).observe(seconds)

    def note_samples(self, model_sha256: str, cell: Cell, count: int) -> None:
        """Samples were made by a model."""
        self._samples.labels(model_sha256, cell.pathology, cell.modality).inc(count)

    async def noted(self, order: Order, making: Awaitable[Made]) -> Made:
        """What is made of an order, which counts as ongoing meanwhile, and as made unless it fails."""
        began = time.monotonic()
        self._ongoing.inc(order.count)
        try:
            made = await making
        finally:
            self._ongoing.dec(order.count)
        self.note_samples(order.model_sha256, order.cell, order.count)
        queue_s = max(time.monotonic() - began - made.compute_s - made.encode_s, 0.0)
        for stage, seconds in (("queue", queue_s), ("compute", made.compute_s), ("encode", made.encode_s)):
            self._stages.labels(stage).observe(seconds)
        self._places.labels("sample").inc(order.count)
        self._places.labels("nothing").inc(made.num_places - order.count)
        return made

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
