"""`mrigen.client` against a real web server around a backend that makes noise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving_fakes import FakeBackend, fake_files, order_of

from jobs.serve.api import ModelInfo, Order
from jobs.serve.refusals import Refused
from mrigen import client as module
from mrigen.client import AsyncClient, Client, JobFailed, SampleFile, ServeError

Start = Callable[..., tuple[Any, int]]
ORDER = {"cells": "HC:T1=3", "seed": 5}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a method of either client, at a port."""

    def call(port: int, method: str, *arguments: Any, patience_s: float = 20.0, **fields: Any) -> Any:
        url = f"http://127.0.0.1:{port}"
        if request.param == "sync":
            with Client(url, patience_s=patience_s) as client:
                return getattr(client, method)(*arguments, **fields)

        async def awaited() -> Any:
            async with AsyncClient(url, patience_s=patience_s) as client:
                return await getattr(client, method)(*arguments, **fields)

        return asyncio.run(awaited())

    return call


def test_one_sample_and_several_tell_the_same_of_themselves(
    start: Start, call: Callable[..., Any], model: ModelInfo
) -> None:
    _, port = start()
    [alone] = call(port, "samples", "Healthy", "FLAIR", seed=7)
    first, second = call(port, "samples", "Healthy", "FLAIR", seed=7, count=2)
    expected = fake_files(order_of(model, format="nifti"))[0]
    assert (alone.name, alone.content) == (first.name, first.content) == (expected.name, expected.data)
    assert alone.facts == json.loads(json.dumps(expected.provenance))
    assert first.facts == {"file": first.name, "sha256": first.facts["sha256"], **alone.facts}
    assert second.content != first.content
    assert call(port, "model")["sha256"] == model.sha256


def test_a_client_comes_again_after_the_time_that_it_is_told(
    start: Start, call: Callable[..., Any], backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [Refused(503, "the worker was lost", retry_after_s=1), Refused(429, "too many wait", retry_after_s=3)]
    make = backend.make

    async def refuse_at_first(order: Order) -> Any:
        backend.error = refusals.pop() if refusals else None
        return await make(order)

    backend.make = refuse_at_first  # type: ignore[method-assign]
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(module, "time", type("time", (), {"sleep": waited.append}))
    monkeypatch.setattr(module, "asyncio", type("asyncio", (), {"sleep": sleep}))
    _, port = start()
    assert isinstance(call(port, "samples", "Healthy", "FLAIR")[0], SampleFile)
    assert waited == [2.0, 1.0]  # the figures know better than the backend how long the queue is
    refusals += [Refused(503, "the worker was lost", retry_after_s=21)]
    with pytest.raises(ServeError, match="503: the worker was lost"):
        call(port, "samples", "Healthy", "FLAIR")


def test_what_a_client_does_wrong_is_told_at_once(start: Start, call: Callable[..., Any]) -> None:
    _, port = start()
    with pytest.raises(ServeError, match="422: pathology: unknown pathology 'Helthy'") as raised:
        call(port, "samples", "Helthy", "FLAIR")
    assert raised.value.status == 422
    with pytest.raises(ServeError, match="404"):  # no jobs are taken here
        call(port, "download", "job-0", "nothing.zip")
    assert not Path("nothing.zip").exists()


def test_a_server_that_is_away_for_a_while_is_waited_for(
    start: Start, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.1)
    with pytest.raises(httpx.ConnectError):
        call(1, "model", patience_s=0.3)


class Jobs:
    """A transport on which one job goes on by every question."""

    def __init__(self, last: str) -> None:
        self.statuses, self.orders = ["queued", "running", last], 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.orders += 1
            raise httpx.ReadError("connection reset", request=request)
        status = self.statuses.pop(0)
        return httpx.Response(200, json={"status": status, "detail": "why", "seconds_left": None})


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    client = Client()
    client._http = httpx.Client(base_url="http://127.0.0.1", transport=httpx.MockTransport(answer))
    return client


def test_a_job_is_waited_for_and_never_ordered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST_POLL_S", 0.0)
    assert client_of(Jobs("done")).wait("job-1")["status"] == "done"
    with pytest.raises(JobFailed, match="why"):
        client_of(Jobs("failed")).wait("job-1")
    with pytest.raises(httpx.ReadError):
        client_of(jobs := Jobs("done")).order(**ORDER)
    assert jobs.orders == 1


def test_what_no_patience_mends_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        Client("127.0.0.1:8000").model()
    asked: list[httpx.Request] = []

    def silent(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadTimeout("timed out", request=request)

    with pytest.raises(httpx.ReadTimeout):
        client_of(silent).model()
    assert len(asked) == 1

    def other(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, html="<h1>It works!</h1>")

    stranger = client_of(other)
    for ask in (
        stranger.model,
        lambda: stranger.samples("Healthy", "FLAIR"),
        lambda: stranger.download("job-1", tmp_path / "set.zip"),
    ):
        with pytest.raises(ServeError, match=r"200: http://127.0.0.1/v1/.* does not answer as mrigen serve does"):
            ask()
    assert not list(tmp_path.iterdir())


def test_a_download_comes_again_too_though_a_proxy_tells_a_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    answers = [
        httpx.Response(200, content=b"whole", headers={"X-Mrigen-Synthetic": "true"}),
        httpx.Response(503, text="<h1>maintenance</h1>", headers={"Retry-After": "Thu, 26 Nov 2026 20:00:00 GMT"}),
    ]
    client_of(lambda request: answers.pop()).download("job-1", tmp_path / "set.zip")
    assert [file.name for file in tmp_path.iterdir()] == ["set.zip"]
    assert (tmp_path / "set.zip").read_bytes() == b"whole"
