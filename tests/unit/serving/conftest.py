"""The web application around a backend that makes noise."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_fakes import FakeBackend, FakePipeline

from jobs.serve.api import ModelInfo, describe
from jobs.serve.app import make_app
from jobs.serve.guard import Door
from jobs.serve.server import DrainingServer
from tests.ports import free_port


@pytest.fixture(scope="session")
def model() -> ModelInfo:
    return describe(FakePipeline(), "fake", max_num_steps=100, note="made up")


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def client_of(backend: FakeBackend, model: ModelInfo) -> Callable[..., TestClient]:
    def make(**options: Any) -> TestClient:
        return TestClient(make_app(backend, [model], **options), "http://127.0.0.1")

    return make


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of()


@pytest.fixture
def start(backend: FakeBackend, model: ModelInfo) -> Iterator[Callable[..., tuple[DrainingServer, int]]]:
    """Starts a server in a thread; gives it and its port."""
    with contextlib.ExitStack() as stack:

        def start(drain_s: float = 30.0) -> tuple[DrainingServer, int]:
            port, door, ready = free_port(), Door(), threading.Event()
            app = make_app(backend, [model], door=door)
            server = DrainingServer(app, "127.0.0.1", port, door=door, drain_s=drain_s, on_start=ready.set)
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            assert ready.wait(10)
            return server, port

        yield start
