"""cluster/nginx.conf in a real nginx, before an application that makes noise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from raw_http import send, status_and_detail
from serving_fakes import FakeBackend
from starlette.types import Receive, Scope, Send

from jobs.serve.api import ModelInfo
from jobs.serve.app import make_app
from tests.nginx import NGINX, nginx_before
from tests.ports import free_port

GOOD = {"pathology": "Healthy", "modality": "FLAIR"}
HEAD = b"POST /v1/samples HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")


@pytest.fixture
def app(model: ModelInfo, backend: FakeBackend) -> FastAPI:
    """An application without Ray Serve."""
    return make_app(backend, [model])


@pytest.fixture
def started(app: FastAPI, tmp_path: Path) -> Iterator[tuple[int, uvicorn.Server]]:
    """The port of nginx, with times of a second instead of ten, and the server behind it."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        with nginx_before(port, tmp_path, patience_s=1) as outer:
            yield outer, server
    finally:
        server.should_exit = True
        thread.join()


def test_what_ray_serve_does_not_bound_is_bounded(started: tuple[int, uvicorn.Server], backend: FakeBackend) -> None:
    port, server = started
    url = f"http://127.0.0.1:{port}"
    answer = httpx.post(f"{url}/v1/samples", json={**GOOD, "count": 9}, headers={"X-Request-Timeout-Seconds": "0"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["x-frame-options"] == "DENY"
    assert httpx.get(f"{url}/v1/model", headers={"Host": "evil.example"}).status_code == 421
    assert httpx.get(f"{url}/v1/model", headers={"Origin": url}).status_code == 200

    assert status_and_detail(send(port, HEAD, b"X-A: ", *[b"a" * 10_000] * 8))[0] == 431
    assert send(port, HEAD + b"X-A: ", pause_s=1.5) == b""  # slow headers: closed
    assert send(port, HEAD + b"Content-Length: 99\r\n\r\n{") == b""  # and slow bodies
    assert len(backend.orders) == 1
    large = httpx.post(f"{url}/v1/samples", content=b" " * 16385)
    assert (large.status_code, large.json()["detail"]) == (413, "the body is larger than 16384 bytes")
    assert httpx.get(f"{url}/-/routes").json() == {"detail": "Not Found"}

    server.should_exit = True
    while (gone := httpx.get(f"{url}/v1/livez")).status_code == 200:
        time.sleep(0.1)
    assert (gone.status_code, gone.json()) == (503, {"detail": "the service is being started"})
    assert int(gone.headers["retry-after"]) > 0


def test_what_a_lost_front_was_answering_is_asked_once_more(
    started: tuple[int, uvicorn.Server], app: FastAPI, backend: FakeBackend
) -> None:
    inner = app.middleware_stack or app.build_middleware_stack()
    losses, asked = [True, False, True, True, False, True, True, False], []

    async def losing(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(losses.pop(0))
        lost = PlainTextResponse("Internal Server Error", 500)  # as Ray Serve answers
        await (lost if asked[-1] else inner)(scope, receive, send)

    app.middleware_stack = losing
    url = f"http://127.0.0.1:{started[0]}/v1/samples"
    assert httpx.post(url, json=GOOD).status_code == 200
    assert (len(asked), len(backend.orders)) == (2, 1)
    assert httpx.post(url, json=GOOD).status_code == 500
    assert (len(asked), len(backend.orders)) == (4, 1)
    assert httpx.post(url, json={}).status_code == 422  # what is refused is not asked again
    assert len(asked) == 5
    jobs = url.replace("samples", "jobs")
    assert httpx.post(jobs, json={}).status_code == 500  # it may have been ordered
    assert len(asked) == 6
    assert httpx.get(jobs).status_code == 404  # which may be asked twice
    assert len(asked) == 8
