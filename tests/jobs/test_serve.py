"""`mrigen serve` on a real Ray Serve, with a model of the `tiny` preset."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from jobs.serve import build_app
from jobs.serve.api import SampleBody, describe, place_order
from jobs.serve.app import make_app
from jobs.serve.application import Args, Served
from jobs.serve.refusals import RETRY_S, Refused
from jobs.verbs.serve import APP_NAME
from mrigen.cohort.order import Kind
from mrigen.cohort.plan import CohortPlan
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.facts import SUMS
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest, sample_seed
from mrigen.storage import Location
from tests.command import mrigen, wait_for
from tests.ports import free_port

UNTRAINED = Cell.parse("Sclerosis:PD")
MAX_QUEUED = 24
FLAIR = {"pathology": "Glioblastoma", "modality": "FLAIR"}


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Path:
    """A model folder of the `tiny` preset."""
    return tiny_run / "model"


@pytest.fixture(scope="module")
def pipeline(model: Path) -> Pipeline:
    return Pipeline.load(model)


@pytest.fixture(scope="module")
def other(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that draws its slices 5 mm further up, and is like the first in all else."""
    folder = tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(model, folder)
    labels = json.loads((folder / "labels.json").read_text())
    labels["slice_mm_quantiles"] = [height + 5 for height in labels["slice_mm_quantiles"]]
    (folder / "labels.json").write_text(json.dumps(labels))
    names = [line.split()[1] for line in (folder / SUMS).read_text().splitlines()]
    hashes = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for digest, name in zip(hashes, names, strict=True)))
    return folder


@pytest.fixture(scope="module")
def url(ray_cluster: None) -> Iterator[str]:
    """The address of a Ray Serve without applications."""
    from ray import serve

    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="module")
def client(url: str, model: Path, other: Path) -> Iterator[httpx.Client]:
    """A client of the application as a Serve config would start it."""
    from ray import serve

    models = [str(model), f"other={other}"]
    serve.run(build_app({"model": models, "max_queued": MAX_QUEUED}), name=APP_NAME)
    with httpx.Client(base_url=url, timeout=180) as client:
        yield client
    serve.delete(APP_NAME)


def image_of(pipeline: Pipeline, cell: Cell, seed: int, index: int = 0, **settings: Any) -> np.ndarray[Any, Any]:
    sampler = pipeline.config.sampler.model_copy(update=settings)
    return pipeline.sample([SampleRequest(cell, sample_seed(seed, cell, index), sampler)])[0].image


def kill(deployment: str) -> str:
    """SIGKILL of the process of one replica; gives its name."""
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    found = next(actor for actor in actors if f"{APP_NAME}#{deployment}#" in actor["name"])
    ray.kill(ray.get_actor(found["name"], namespace=found["namespace"]), no_restart=True)
    return str(found["name"])


def num_places(client: httpx.Client) -> float:
    """Places of the batches that were computed for this front, by its metrics."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(one.value for family in families if family.name == "mrigen_batch_places" for one in family.samples)


def as_array(content: bytes) -> np.ndarray[Any, Any]:
    return np.load(io.BytesIO(content), allow_pickle=False)


# First, while no other application has the cores of a small machine.
@pytest.mark.ray
@pytest.mark.slow
def test_replicas_are_added_as_requests_wait(url: str, model: Path, pipeline: Pipeline) -> None:
    from ray import serve

    from jobs.serve.deployments import bind_sampler

    info = describe(pipeline, "tiny", 100)
    body = SampleBody(pathology="Healthy", modality="FLAIR", count=8, num_steps=100)
    args = Args(model=str(model), num_replicas=2, least_replicas=1)
    served = [Served(str(model), info)]
    # Taken once: threads that take it at the same time make a router each, and Serve believes the last, an idle one.
    make = serve.run(bind_sampler(args, served), name="grown", route_prefix=None).make

    def running() -> int:
        return int(serve.status().applications["grown"].deployments["Sampler"].replica_states.get("RUNNING", 0))

    assert running() == 1
    with ThreadPoolExecutor(24) as pool:
        grown = threading.Event()

        def ask() -> None:
            while not grown.is_set():
                make.remote(place_order(body, info), Location.parse(model)).result()

        asked = [pool.submit(ask) for _ in range(24)]
        try:
            wait_for(lambda: running() == 2, 300)
        finally:
            grown.set()
        for one in asked:
            one.result()
    serve.delete("grown")


@pytest.mark.ray
def test_the_image_is_that_of_the_pipeline_bit_for_bit(client: httpx.Client, pipeline: Pipeline) -> None:
    body = {**FLAIR, "seed": 7, "format": "npy"}
    cell = Cell.parse("Glioblastoma:FLAIR")
    one = client.post("/v1/samples", json=body)
    assert one.status_code == 200
    assert np.array_equal(as_array(one.content), image_of(pipeline, cell, 7))
    assert one.headers["x-mrigen-model-sha256"] == pipeline.model_sha256
    assert one.headers["x-mrigen-sample-seed"] == str(sample_seed(7, cell, 0))

    many = client.post("/v1/samples", json={**body, "count": 11, "num_steps": 2, "guidance_scale": 1})
    archive = zipfile.ZipFile(io.BytesIO(many.content))
    entries = json.loads(archive.read("index.json"))["samples"]
    plan = CohortPlan(pipeline.model_sha256, 7, pipeline.config.sampler).grown({Kind(cell): 11}, 64)
    planned = [plan.request(row).seed for row in plan.shard(0)]
    assert [entry["seed"] for entry in entries] == planned  # `mrigen generate --seed 7` makes the same samples
    for index, entry in enumerate(entries):
        expected = image_of(pipeline, cell, 7, index, num_steps=2, guidance_scale=1.0)
        assert np.array_equal(as_array(archive.read(entry["file"])), expected)


@pytest.mark.ray
def test_parallel_requests_are_answered_right_and_batched(client: httpx.Client, pipeline: Pipeline) -> None:
    from ray import serve

    handle = serve.get_deployment_handle("Sampler", APP_NAME)
    before, places = handle.counts.remote().result(), num_places(client)
    cells = [cell for cell in all_cells() if cell != UNTRAINED]
    asked = [(cells[k % len(cells)], k, [3, 4][k % 2]) for k in range(24)]

    def ask(cell: Cell, seed: int, num_steps: int) -> httpx.Response:
        body = {"pathology": str(cell.pathology), "modality": str(cell.modality), "seed": seed, "num_steps": num_steps}
        return client.post("/v1/samples", json={**body, "format": "npy"})

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda wanted: ask(*wanted), asked))
    for (cell, seed, num_steps), answer in zip(asked, answers, strict=True):
        assert answer.status_code == 200
        assert np.array_equal(as_array(answer.content), image_of(pipeline, cell, seed, num_steps=num_steps))
    after = handle.counts.remote().result()
    assert after["samples"] - before["samples"] == 24
    assert after["batches"] - before["batches"] <= 12  # 4 would be full ones, 24 none at all
    size = pipeline.config.sampler.compute_batch
    assert num_places(client) - places == pytest.approx(size * (after["batches"] - before["batches"]))


@pytest.mark.ray
def test_each_of_several_models_draws_what_its_pipeline_does(
    client: httpx.Client, pipeline: Pipeline, other: Path
) -> None:
    cell, higher = Cell.parse("Glioblastoma:FLAIR"), Pipeline.load(other)
    name = client.get("/v1/model").json()["name"]
    assert [(one["name"], one["sha256"]) for one in client.get("/v1/models").json()] == [
        (name, pipeline.model_sha256),
        ("other", higher.model_sha256),
    ]

    def ask(name: str) -> httpx.Response:
        return client.post("/v1/samples", json={**FLAIR, "seed": 7, "num_steps": 3, "format": "npy", "model": name})

    with ThreadPoolExecutor(6) as pool:  # at once, so that one batch after another is of the other model
        answers = list(pool.map(ask, [name, "other"] * 3))
    for answer, chosen in zip(answers, [pipeline, higher] * 3, strict=True):
        assert answer.headers["x-mrigen-model-sha256"] == chosen.model_sha256
        assert np.array_equal(as_array(answer.content), image_of(chosen, cell, 7, num_steps=3))


@pytest.mark.ray
def test_facts_faults_and_the_page(client: httpx.Client, model: Path) -> None:
    facts = client.get("/v1/model").json()
    assert facts["name"] == model.parent.name
    assert [cell for cell in facts["cells"] if not cell["trained"]] == [
        {"pathology": "Sclerosis", "modality": "PD", "training_images": 0, "trained": False}
    ]
    for path in ("healthz", "livez", "readyz"):
        assert client.get(f"/v1/{path}").json()["status"] == "ok"
    assert client.get("/", follow_redirects=True).text.startswith("<!doctype html>")
    assert "/v1/samples" in client.get("/openapi.json").json()["paths"]
    refused = client.post("/v1/samples", json={"pathology": "MS", "modality": "PD"})
    assert refused.status_code == 422
    large = client.post("/v1/samples", content=b" " * 2_000_000, headers={"Content-Type": "application/json"})
    assert large.status_code == 413


@pytest.mark.ray
def test_a_full_queue_is_429_and_who_leaves_makes_room(client: httpx.Client) -> None:
    from ray import serve

    handle = serve.get_deployment_handle("Sampler", APP_NAME)
    before = handle.counts.remote().result()
    long = {**FLAIR, "num_steps": 100, "count": 64}

    async def scenario() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=client.base_url, timeout=120, limits=limits) as crowd:
            asked: list[asyncio.Task[httpx.Response]] = []
            finished: set[asyncio.Task[httpx.Response]] = set()
            while not finished:
                asked.extend(asyncio.create_task(crowd.post("/v1/samples", json=long)) for _ in range(10))
                finished, _ = await asyncio.wait(asked, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            answer = finished.pop().result()
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "wait" in answer.json()["detail"]
            assert (await crowd.get("/v1/healthz")).status_code == 200  # the front still speaks
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            while (answer := await crowd.post("/v1/samples", json=FLAIR)).status_code == 429:
                await asyncio.sleep(0.2)
            assert answer.status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 240))
    after = handle.counts.remote().result()
    assert after["samples"] - before["samples"] < 10 * 64  # what was left is not computed to the end


@pytest.mark.ray
def test_a_504_ends_the_work_of_the_replica(client: httpx.Client, pipeline: Pipeline) -> None:
    from ray import serve

    from jobs.serve.deployments import SamplerHandle

    handle = serve.get_deployment_handle("Sampler", APP_NAME)
    before = handle.counts.remote().result()["samples"]
    models = {pipeline.model_sha256: None}
    app = make_app(SamplerHandle(handle, models), [describe(pipeline, "tiny", 100)], request_timeout_s=1)
    with TestClient(app, "http://127.0.0.1") as hasty:
        assert hasty.get("/v1/readyz").status_code == 200
        long = {**FLAIR, "num_steps": 100, "count": 64, "pathology_scale": 2}
        assert hasty.post("/v1/samples", json=long).status_code == 504
    assert client.post("/v1/samples", json={**FLAIR, "num_steps": 1}).status_code == 200  # by who computed that
    assert handle.counts.remote().result()["samples"] - before < 64


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_replica_is_replaced_and_gives_the_same_images(client: httpx.Client) -> None:
    body = {**FLAIR, "seed": 3, "format": "npy"}
    expected = client.post("/v1/samples", json=body).content
    with ThreadPoolExecutor(4) as pool:
        busy = [
            pool.submit(client.post, "/v1/samples", json={**FLAIR, "seed": k, "count": 16, "num_steps": 100})
            for k in range(4)
        ]
        time.sleep(1)
        first = kill("Sampler")
        statuses = {answer.result().status_code for answer in busy}
    assert statuses <= {200, 503}
    deadline = time.monotonic() + 120
    while (answer := client.post("/v1/samples", json=body)).status_code != 200:
        assert answer.status_code in (429, 503)
        assert int(answer.headers["retry-after"]) > 0
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert answer.content == expected
    assert kill("Sampler") != first


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_front_is_waited_for_and_not_answered_by_ray_serve(client: httpx.Client) -> None:
    kill("Front")
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=client.base_url, timeout=180, limits=limits) as crowd, ThreadPoolExecutor(250) as pool:
        answers = list(pool.map(lambda _: crowd.get("/v1/healthz"), range(250)))
    assert {(answer.status_code, answer.headers["content-type"]) for answer in answers} == {(200, "application/json")}


@pytest.mark.ray
def test_a_serve_that_runs_already_is_left_alone(url: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("serve", "--model", model, "--port", free_port()) == 2
    assert "Serve already runs on this cluster" in capsys.readouterr().err


def test_replicas_make_what_fronts_of_another_version_ask_for(model: Path, pipeline: Pipeline, other: Path) -> None:
    from jobs.serve.deployments import ModelReplacedError, Sampler, SamplerHandle

    here, there = Location.parse(model), Location.parse(other)
    order = place_order(SampleBody(**FLAIR, seed=7, format="npy"), describe(pipeline, "tiny", 100))
    sampler = Sampler({Pipeline.load(other).model_sha256: there}, "cpu")

    async def made() -> bytes:
        await sampler.make(order, here)
        [file] = (await sampler.make(order, None)).files  # it is loaded
        return file.data

    assert np.array_equal(as_array(asyncio.run(made())), image_of(pipeline, Cell.parse("Glioblastoma:FLAIR"), 7))

    changed, lost = replace(order, model_sha256="a" * 64), replace(order, model_sha256="b" * 64)
    told = f"{model} changed since the server was started, from aaaaaaaaaaaa to {pipeline.model_sha256[:12]}: start it"
    with pytest.raises(ModelReplacedError, match=told):
        asyncio.run(sampler.make(changed, here))
    with pytest.raises(ModelReplacedError, match=f"{model}/none cannot be loaded: "):
        asyncio.run(sampler.make(lost, here / "none"))

    class Handle:
        """Calls a replica in this process."""

        make = SimpleNamespace(remote=sampler.make)

    with pytest.raises(Refused) as refused:
        asyncio.run(SamplerHandle(Handle(), {changed.model_sha256: here}).make(changed))
    assert (refused.value.status, refused.value.retry_after_s) == (503, RETRY_S)


def test_a_serve_config_with_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="num_replica"):
        build_app({"num_replica": 2})
    with pytest.raises(ValidationError, match="least_replicas 3 is more than num_replicas 2"):
        build_app({"num_replicas": 2, "least_replicas": 3})
    with pytest.raises(ValidationError):
        Args(max_queued=0)
