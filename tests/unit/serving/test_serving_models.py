"""Several models behind one server, of which requests choose one by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_fakes import FACTS, UNTRAINED, FakeBackend, FakePipeline, fake_files, order_of

import mrigen
from jobs.serve.api import ModelInfo, describe
from jobs.serve.app import make_app
from jobs.serve.application import Args, load_facts
from mrigen.client import Client
from mrigen.errors import InputError

GOOD = {"pathology": "Healthy", "modality": "FLAIR", "seed": 7, "format": "png"}
EMBEDDED = Path(mrigen.__file__).parent / "embedded" / "model"


@pytest.fixture
def other() -> ModelInfo:
    """A model that was trained on one cell more, and on slices further down."""
    facts = replace(
        FACTS,
        sha256="fedcba9876543210" * 4,
        training_counts={**FACTS.training_counts, UNTRAINED: 10},
        slice_mm_quantiles=(-60.0, 0.0, 10.0),
    )
    return describe(FakePipeline(facts), "other", max_num_steps=50)  # type: ignore[arg-type]


@pytest.fixture
def client(backend: FakeBackend, model: ModelInfo, other: ModelInfo) -> TestClient:
    return TestClient(make_app(backend, [model, other]), "http://127.0.0.1")


def test_a_request_chooses_a_model_by_name_and_else_has_the_first(
    client: TestClient, backend: FakeBackend, model: ModelInfo, other: ModelInfo
) -> None:
    for name, chosen in [(None, model), ("fake", model), ("other", other)]:
        answer = client.post("/v1/samples", json=GOOD | {"model": name})
        [expected] = fake_files(order_of(chosen))
        assert (answer.content, answer.headers["x-mrigen-model-sha256"]) == (expected.data, chosen.sha256)
    assert [order.model_sha256 for order in backend.orders] == [model.sha256, model.sha256, other.sha256]
    samples = re.findall(r'mrigen_samples_total\{.*sha256="(.*?)"\} (.*)', client.get("/metrics").text)
    assert samples == [(model.sha256, "2.0"), (other.sha256, "1.0")]


def test_a_request_is_held_against_what_its_own_model_can_do(client: TestClient) -> None:
    for body, statuses in [
        ({"pathology": "MS", "modality": "PD"}, (422, 200)),
        ({"slice_mm": -50}, (422, 200)),
        ({"slice_mm": 40}, (200, 422)),
        ({"num_steps": 80}, (200, 422)),
    ]:
        for name, status in zip(("fake", "other"), statuses, strict=True):
            assert client.post("/v1/samples", json=GOOD | body | {"model": name}).status_code == status


@pytest.mark.parametrize("name", ["othr", "", "x" * 999], ids=["misspelt", "empty", "long"])
def test_a_name_that_no_model_has_is_refused_with_those_there_are(client: TestClient, name: str) -> None:
    answer = client.post("/v1/samples", json=GOOD | {"model": name})
    shown = ascii(name) if len(name) < 38 else f"'{'x' * 36}..."
    assert answer.status_code == 422
    assert answer.json() == {"detail": f"model: {shown} is not served here; known are fake, other"}


def test_models_are_listed_with_hash_and_cells_and_named_to_generators(
    client: TestClient, model: ModelInfo, other: ModelInfo
) -> None:
    assert client.get("/v1/models").json() == [model.model_dump(mode="json"), other.model_dump(mode="json")]
    assert client.get("/v1/model").json()["name"] == "fake"
    fields = client.get("/openapi.json").json()["components"]["schemas"]["SampleBody"]["properties"]
    assert {"enum": ["fake", "other"], "type": "string"} in fields["model"]["anyOf"]
    assert {"minimum": -60, "maximum": 46, "type": "number"} in fields["slice_mm"]["anyOf"]
    assert {"minimum": 1, "maximum": 100, "type": "integer"} in fields["num_steps"]["anyOf"]


def test_a_source_is_asked_of_a_model_that_tells_it_apart(backend: FakeBackend, model: ModelInfo) -> None:
    facts = replace(FACTS, sources=("site A", "site B"))
    sites = describe(FakePipeline(facts), "sites", max_num_steps=50)  # type: ignore[arg-type]
    client = TestClient(make_app(backend, [model, sites]), "http://127.0.0.1")
    for source in ("site B", None):
        assert client.post("/v1/samples", json=GOOD | {"model": "sites", "source": source}).status_code == 200
    assert [order.source for order in backend.orders] == ["site B", None]
    for name, source, told in [
        ("sites", "site C", "source: the model does not know 'site C'; known are 'site A', 'site B'; or leave it out"),
        ("fake", "site B", "source: the model does not know 'site B'; it tells none apart; or leave it out"),
    ]:
        answer = client.post("/v1/samples", json=GOOD | {"model": name, "source": source})
        assert (answer.status_code, answer.json()) == (422, {"detail": told})
    assert [one["sources"] for one in client.get("/v1/models").json()] == [[], ["site A", "site B"]]
    fields = client.get("/openapi.json").json()["components"]["schemas"]["SampleBody"]["properties"]
    assert {"enum": ["site A", "site B"], "type": "string"} in fields["source"]["anyOf"]


def test_the_client_lists_and_chooses(start: Callable[..., Any], model: ModelInfo) -> None:
    _, port = start()
    with Client(f"http://127.0.0.1:{port}") as client:
        assert [one["name"] for one in client.models()] == ["fake"]
        [sample] = client.samples("Healthy", "FLAIR", model="fake")
    assert sample.facts["model_sha256"] == model.sha256


def test_models_have_the_names_that_they_are_given_or_those_of_their_folders(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(EMBEDDED)
    run = str(tmp_path / "run" / "model")
    for given, told in [(run, [("run", run)]), ([f"a={run}", run], [("a", run), ("run", run)])]:
        assert [(served.info.name, served.folder) for served in load_facts(Args(model=given))] == told
    [embedded] = load_facts(Args())
    assert (embedded.info.name, embedded.folder, embedded.location) == ("embedded", None, None)
    with pytest.raises(InputError, match=r"^--model: two are named run: give each a name, as NAME=DIR$"):
        load_facts(Args(model=(run, run)))
    with pytest.raises(InputError, match=r"^--model: no folder nowhere$"):
        load_facts(Args(model=("a=nowhere",)))
