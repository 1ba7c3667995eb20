"""A client that is generated from `/openapi.json`, as the guide tells, gets what it asks for."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_fakes import FakeBackend, fake_files, order_of

from jobs.serve.api import ModelInfo
from jobs.serve.bulk.routes import job_routes
from jobs.serve.bulk.store import JobStore
from jobs.serve.keys import Client, Keys
from mrigen.storage import Location

KEY = "correct horse battery"
BYTES = "application/octet-stream"


@pytest.fixture
def server(tmp_path: Path, client_of: Callable[..., TestClient]) -> TestClient:
    keys = Keys({hashlib.sha256(KEY.encode()).hexdigest(): Client("ward")})
    store = JobStore(Location.parse(tmp_path / "jobs"), max_waiting=3)
    return client_of(keys=keys, jobs=job_routes(store, lambda body: 1 / 0, keys))


@pytest.fixture
def generated(tmp_path: Path, server: TestClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Gives a module of the generated package."""
    description = server.get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"}).json()
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    types = {"application/zip": BYTES, "application/vnd.apache.parquet": BYTES}
    (tmp_path / "types.yaml").write_text(json.dumps({"content_type_overrides": types, "post_hooks": []}))
    words = ["--path", "openapi.json", "--config", "types.yaml", "--output-path", "made_client", "--meta", "none"]
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    subprocess.run([*generator, *words], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: importlib.import_module(f"made_client.{name}")


def test_a_generated_client_draws_and_is_told_what_is_wrong(
    generated: Callable[[str], Any], server: TestClient, model: ModelInfo, backend: FakeBackend
) -> None:
    client = generated("client").AuthenticatedClient("http://127.0.0.1", KEY)
    client.set_httpx_client(server)
    server.headers["Authorization"] = f"Bearer {KEY}"
    models, of = generated("models"), lambda name: generated(f"api.default.{name}").sync
    body = models.SampleBody.from_dict({"pathology": "Healthy", "modality": "FLAIR", "seed": 7, "format": "png"})
    drawn = of("draw_samples")(client=client, body=body)
    [expected] = fake_files(order_of(model))
    assert drawn.payload.read() == expected.data
    assert of("describe_model")(client=client).sha256 == model.sha256
    assert of("list_jobs")(client=client) == []
    assert (
        of("get_job")("none", client=client).detail
        == "there is no such job; it may have been deleted, or its time is over"
    )
    body.num_steps = 101
    assert "num_steps" in of("draw_samples")(client=client, body=body).detail
