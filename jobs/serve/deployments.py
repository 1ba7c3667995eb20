"""The two deployments on Ray Serve: a light front that speaks HTTP, and replicas that hold the models.

client -> Front (requests, limits, answers) -> Sampler (all models each, batches across clients)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import BackpressureConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from jobs.serve.api import Order
from jobs.serve.app import make_app
from jobs.serve.application import Args, Served, locations
from jobs.serve.batching import Batcher
from jobs.serve.files import Made, sample_file
from jobs.serve.keys import Keys
from jobs.serve.pace import evaluations
from jobs.serve.refusals import RETRY_S, Refused
from mrigen.errors import InputError
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.pipeline import Pipeline
    from mrigen.samples import Sample, SampleRequest

    Asked = tuple[str, SampleRequest]
    # A sample, and the SHA-256 of the model that is to draw it.

ONGOING = 32
"""Requests that a replica of the model takes up at once; more of them wait in the front, up to a limit."""
READY_FOR_S = 1.0
"""How long an answer of Serve about its replicas is believed."""
FRONT_SPARE = 1000
"""Requests that the front takes besides those for samples: facts, health, and what it refuses. As many wait for it
while it is being replaced: what is above is refused by Ray Serve in plain text."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A compute batch that was drawn."""

    seconds: float
    places_each: float
    """Its places, for each sample in it."""


class ModelReplacedError(RuntimeError):
    """Where a model was, there is another one now, or none."""


def _load(sha256: str, model: Location | None, device: str) -> Pipeline:
    from mrigen.pipeline import Pipeline

    name = model or "the embedded model"
    try:
        pipeline = Pipeline.load(model, device)
    except (InputError, OSError) as error:
        raise ModelReplacedError(f"{name} cannot be loaded: {error}") from error
    if pipeline.model_sha256 != sha256:
        raise ModelReplacedError(
            f"{name} changed since the server was started, from {sha256[:12]} to {pipeline.model_sha256[:12]}: "
            "start it again"
        )
    return pipeline


class Sampler:
    """Holds the models and makes the files of orders, batched over all that it works on."""

    def __init__(self, models: Mapping[str, Location | None], device: str) -> None:
        """`models` are where they are, by their SHA-256."""
        self._device, self._loading = device, asyncio.Lock()
        pipelines = self._pipelines = {sha256: _load(sha256, model, device) for sha256, model in models.items()}

        def draw(asked: list[Asked], before_step: Callable[[], None]) -> list[tuple[Sample, Batch]]:
            began = time.monotonic()
            sha256, first = asked[0]
            samples = pipelines[sha256].sample([request for _, request in asked], before_step)
            batch = Batch(time.monotonic() - began, first.sampler.compute_batch / len(asked))
            return [(sample, batch) for sample in samples]

        self._batcher = Batcher(
            draw,
            kind=lambda asked: (asked[0], asked[1].sampler.batch_key),
            size=lambda asked: asked[1].sampler.compute_batch,
            cost=lambda asked: evaluations(asked[1].sampler),
        )

    async def make(self, order: Order, model: Location | None) -> Made:
        """The files of an order, by the model that is at `model`.

        While a version is rolled out, fronts of one ask replicas of the other, which load its model too. Raises
        ModelReplacedError if it is no longer there.
        """
        from mrigen.samples import SampleRequest, sample_seed

        async with self._loading:
            if (sha256 := order.model_sha256) not in self._pipelines:
                self._pipelines[sha256] = await asyncio.to_thread(_load, sha256, model, self._device)
        seeds = [sample_seed(order.seed, order.cell, index) for index in range(order.count)]
        requests = [SampleRequest(order.cell, seed, order.sampler, order.slice_mm, order.source) for seed in seeds]
        drawn = await self._batcher.submit([(order.model_sha256, request) for request in requests])
        batches = {batch for _, batch in drawn}
        began = time.monotonic()
        files = await asyncio.to_thread(
            lambda: [sample_file(sample, order, index) for index, (sample, _) in enumerate(drawn)]
        )
        return Made(
            files,
            compute_s=sum(batch.seconds for batch in batches),
            num_batches=len(batches),
            encode_s=time.monotonic() - began,
            num_places=sum(batch.places_each for _, batch in drawn),
        )

    async def counts(self) -> dict[str, int]:
        """What this replica has computed since it started: batches, and samples in them."""
        return {"batches": self._batcher.num_batches, "samples": self._batcher.num_items}

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises."""
        if not self._batcher.alive:
            raise RuntimeError("the task that forms batches has died")


class SamplerHandle:
    """The front's way to the replicas: what Serve raises becomes an answer for the client."""

    def __init__(self, handle: DeploymentHandle, models: Mapping[str, Location | None]) -> None:
        """`models` are where they are, by their SHA-256."""
        self._handle, self._models = handle, models
        self._ready, self._asked_at = False, -READY_FOR_S

    async def make(self, order: Order) -> Made:
        """The files of an order. A replica that dies is asked for again elsewhere, once: samples have no memory."""
        for _ in range(2):
            answer = self._handle.make.remote(order, self._models[order.model_sha256])
            try:
                made: Made = await answer
                return made
            except asyncio.CancelledError:  # of who awaits it, which the replica does not learn by itself
                with contextlib.suppress(BackPressureError):  # it was refused at this moment
                    answer.cancel()
                raise
            except BackPressureError:
                raise Refused(429, "too many requests wait already", retry_after_s=RETRY_S) from None
            except ModelReplacedError:
                raise Refused(503, "the model was replaced: its server starts again", retry_after_s=RETRY_S) from None
            except (RayActorError, ReplicaUnavailableError):
                continue
            except DeploymentUnavailableError:
                break
        self._asked_at = -READY_FOR_S
        raise Refused(503, "the worker was lost; another is being started", retry_after_s=RETRY_S)

    async def ready(self) -> bool:
        """Whether Serve knows of a replica that runs. It is asked once a second at most."""
        if time.monotonic() > self._asked_at + READY_FOR_S:
            self._asked_at = time.monotonic()
            self._ready = await asyncio.to_thread(_any_running, self._handle.app_name, self._handle.deployment_name)
        return self._ready


def _any_running(app: str, deployment: str) -> bool:
    status = serve.status().applications.get(app)
    replicas = status.deployments[deployment].replica_states if status and deployment in status.deployments else {}
    return bool(replicas.get("RUNNING", 0))


@serve.ingress()
class Front:
    """Speaks HTTP. Holds no model, so it starts fast and can be had many times."""

    def __init__(
        self,
        sampler: DeploymentHandle,
        served: Sequence[Served],
        request_timeout_s: float,
        keys: Keys | None,
        num_workers: int,
    ) -> None:
        self._make: dict[str, Any] = {"request_timeout_s": request_timeout_s, "keys": keys, "num_workers": num_workers}
        self._backend, self._models = SamplerHandle(sampler, locations(served)), [model.info for model in served]

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_app(self._backend, self._models, **self._make)


def bind_sampler(args: Args, served: Sequence[Served]) -> serve.Application:
    """The models alone, for who speaks HTTP by other means."""
    copies: dict[str, Any] = {"num_replicas": args.num_replicas}
    if args.least_replicas is not None:
        copies = {
            "autoscaling_config": {
                "min_replicas": args.least_replicas,
                "max_replicas": args.num_replicas,
                # Another replica helps once the requests of one fill more than a batch.
                "target_ongoing_requests": min(model.info.defaults.compute_batch for model in served),
                "upscale_delay_s": 10,
                "metrics_interval_s": 5,
                "look_back_period_s": 10,
            }
        }
    bound: serve.Application = serve.deployment(
        name="Sampler",
        **copies,
        max_ongoing_requests=ONGOING,
        max_queued_requests=args.max_queued,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=args.drain_s,
        health_check_period_s=2,
        # One core each: a sample's bits depend on the number of threads.
        ray_actor_options={"num_cpus": 1, "num_gpus": int(args.use_gpu)},
    )(Sampler).bind(locations(served), "cuda" if args.use_gpu else "cpu")
    return bound


def bind(args: Args, served: Sequence[Served], keys: Keys | None) -> serve.Application:
    """The models behind a front that speaks HTTP; a full queue is answered by 429 and `Retry-After`."""
    front = serve.deployment(
        name="Front",
        max_ongoing_requests=ONGOING * args.num_replicas + args.max_queued + FRONT_SPARE,
        max_queued_requests=FRONT_SPARE,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY_S),
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=args.drain_s + 2,
        ray_actor_options={"num_cpus": 0.1},
    )(Front)
    return front.bind(bind_sampler(args, served), served, args.request_timeout, keys, args.num_replicas)
