"""The web application around a backend that makes noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_fakes import FakeBackend, FakePipeline

from jobs.serve.api import ModelInfo, describe
from jobs.serve.app import make_app


@pytest.fixture(scope="session")
def model() -> ModelInfo:
    return describe(FakePipeline(), "fake", max_num_steps=100, note="made up")


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def client_of(backend: FakeBackend, model: ModelInfo) -> Callable[..., TestClient]:
    def make(**options: Any) -> TestClient:
        return TestClient(make_app(backend, model, **options), "http://127.0.0.1")

    return make


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of()
