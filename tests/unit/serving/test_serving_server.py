"""The real web server around a backend that makes noise, spoken to by hand."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from raw_http import send, status_and_detail
from serving_fakes import FakeBackend

from jobs.serve import server as module
from jobs.serve.server import MAX_HEADER_BYTES, DrainingServer

GOOD = {"pathology": "Healthy", "modality": "FLAIR"}
Started = tuple[DrainingServer, int]


def test_headers_that_are_too_large_are_431_and_hold_up_nobody(start: Callable[..., Started]) -> None:
    _, port = start()
    begun = b"GET /v1/livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "
    assert status_and_detail(send(port, begun + b"a" * (MAX_HEADER_BYTES + 1)))[0] == 431
    assert status_and_detail(send(port, begun + b"a" * 100_000 + b"\r\n\r\n"))[0] == 431
    started = time.monotonic()
    send(port, begun, *[b"a" * 1_000_000] * 50)
    assert httpx.get(f"http://127.0.0.1:{port}/v1/livez").status_code == 200
    assert time.monotonic() - started < 8
    assert send(port, begun + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert status_and_detail(send(port, b"HELO there\r\n\r\n")) == (400, "this is not HTTP")


def test_slow_headers_are_ended(start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEADERS_TIMEOUT_S", 1.0)
    _, port = start()
    whole = b"GET /v1/livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for sent in (b"", b"GET /v1/livez HT", whole[:-2]):
        status, detail = status_and_detail(send(port, sent))
        assert (status, detail) == (408, "the headers did not arrive within 1 s")
    second = send(port, whole, b"GET /", pause_s=0.1)  # after an answer too
    assert second.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in second


def test_many_slow_bodies_hold_up_nobody(start: Callable[..., Started]) -> None:
    _, port = start()
    head = b"POST /v1/samples HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 999\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        started = time.monotonic()
        assert httpx.post(f"http://127.0.0.1:{port}/v1/samples", json=GOOD).status_code == 200
        assert time.monotonic() - started < 5


def test_more_connections_than_there_are_handles_for_are_closed(
    start: Callable[..., Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)
    _, port = start()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.2)
        assert send(port, b"GET /v1/livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == b""
    time.sleep(0.2)
    assert httpx.get(f"http://127.0.0.1:{port}/v1/livez").status_code == 200


def test_a_client_that_leaves_ends_its_work(start: Callable[..., Started], backend: FakeBackend) -> None:
    backend.delay_s = 30.0
    _, port = start()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"http://127.0.0.1:{port}/v1/samples", json=GOOD, timeout=0.5)
    until(lambda: backend.cancelled == 1)
    with socket.create_connection(("127.0.0.1", port)) as connection:  # amid the body
        connection.sendall(b"POST /v1/samples HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        time.sleep(0.2)
    until(lambda: 'route="/v1/samples",status="499"} 2.0' in httpx.get(f"http://127.0.0.1:{port}/metrics").text)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def asked(port: int, answers: list[httpx.Response], backend: FakeBackend) -> threading.Thread:
    """A request in a thread of its own, which has reached the backend."""
    thread = threading.Thread(
        target=lambda: answers.append(httpx.post(f"http://127.0.0.1:{port}/v1/samples", json=GOOD, timeout=20))
    )
    thread.start()
    until(lambda: len(backend.orders) == 1)
    return thread


def test_stopping_ends_accepted_work_and_refuses_more(start: Callable[..., Started], backend: FakeBackend) -> None:
    backend.delay_s = 30.0
    server, port = start()
    answers: list[httpx.Response] = []
    thread = asked(port, answers, backend)
    server.handle_exit(signal.SIGTERM, None)
    refused: Any = httpx.post(f"http://127.0.0.1:{port}/v1/samples", json=GOOD)
    assert (refused.status_code, refused.json()) == (503, {"detail": "the server is stopping"})
    assert int(refused.headers["retry-after"]) > 0
    assert httpx.get(f"http://127.0.0.1:{port}/v1/readyz").status_code == 503
    for path in ("livez", "healthz"):
        assert httpx.get(f"http://127.0.0.1:{port}/v1/{path}").status_code == 200
    backend.delay_s = 0.0
    thread.join()
    assert answers[0].status_code == 200
    assert len(backend.orders) == 1
    until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) != 0)


@pytest.mark.parametrize(("drain_s", "signals"), [(0.5, 1), (30.0, 2)])
def test_what_takes_longer_or_a_second_signal_is_answered_by_503(
    start: Callable[..., Started], backend: FakeBackend, drain_s: float, signals: int
) -> None:
    backend.delay_s = 30.0
    server, port = start(drain_s)
    answers: list[httpx.Response] = []
    thread = asked(port, answers, backend)
    for _ in range(signals):
        server.handle_exit(signal.SIGTERM, None)
    thread.join(10)
    assert (answers[0].status_code, answers[0].json()) == (503, {"detail": "the server is stopping"})
    until(lambda: backend.cancelled == 1)
