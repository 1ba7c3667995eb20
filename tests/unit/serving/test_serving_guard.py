"""What stands before the application: foreign pages, strict headers, ids, the access log, figures."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from serving_fakes import FakeBackend

from jobs.serve.api import ModelInfo
from jobs.serve.keys import Client, Keys

GOOD = {"pathology": "Healthy", "modality": "FLAIR"}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """The lines of the access log so far."""
    logger = logging.getLogger("mrigen.access")
    caplog.set_level(logging.INFO, logger.name)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    return lambda: [json.loads(record.message) for record in caplog.records if record.name == "mrigen.access"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8000"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "evil.example@127.0.0.1:99999999"}, 200),  # an address all the same, whatever its port
        ({"Host": "["}, 421),
        ({"Host": ""}, 421),
        ({"Host": "127.0.0.1:8000", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, 200),
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "LocalHost:8000", "Origin": "http://LocalHost:8000"}, 200),
        ({"Host": socket.gethostname()}, 200),
        ({"Host": "192.168.1.5:8000"}, 200),
    ],
)
def test_without_a_key_only_own_names_and_own_pages_are_answered(
    client: TestClient, backend: Any, headers: dict[str, str], status: int
) -> None:
    answers = [client.post("/v1/samples", json=GOOD, headers=headers), client.get("/v1/model", headers=headers)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert len(backend.orders) == (status == 200)
    assert status == 200 or list(answers[0].json()) == ["detail"]


def test_with_a_key_any_name_will_do(client_of: Callable[..., TestClient]) -> None:
    client = client_of(keys=Keys({hashlib.sha256(b"k" * 16).hexdigest(): Client("alice")}))
    headers = {"Host": "mri.example", "Origin": "https://other.example", "Authorization": f"Bearer {'k' * 16}"}
    assert client.post("/v1/samples", json=GOOD, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/v1/model", "/v1/nothing", "/-/routes", "/openapi.json"])
def test_every_answer_keeps_browsers_strict(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_a_request_id_is_kept_if_it_is_short_and_plain(client: TestClient, given: str, kept: bool) -> None:
    told = client.get("/v1/livez", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert (told == given) is kept
    assert 0 < len(told) <= 64


def test_the_access_log_has_a_line_of_json_a_request_but_no_key(
    client_of: Callable[..., TestClient], log: Callable[[], list[dict[str, Any]]]
) -> None:
    key = "a-key-of-some-length"
    client = client_of(keys=Keys({hashlib.sha256(key.encode()).hexdigest(): Client("alice")}))
    right = {"Authorization": f"Bearer {key}", "X-Request-ID": "me-1"}
    client.post("/v1/samples", json={**GOOD, "count": 3}, headers=right)
    client.get("/v1/model")
    client.get("/v1/livez")
    first, second = log()
    assert first.pop("seconds") >= 0
    assert first.pop("time").endswith("Z")
    assert first == {
        "id": "me-1",
        "from": "testclient",
        "method": "POST",
        "path": "/v1/samples",
        "status": 200,
        "key": "alice",
        "order": {"model": "fake", "cell": "Healthy:FLAIR", "count": 3, "num_steps": 3},
    }
    assert (second["path"], second["status"]) == ("/v1/model", 401)
    assert key not in json.dumps([first, second])


def test_a_request_above_the_rate_of_a_key_is_logged_with_its_name(
    client_of: Callable[..., TestClient], log: Callable[[], list[dict[str, Any]]]
) -> None:
    key = "a-key-of-some-length"
    client = client_of(keys=Keys({hashlib.sha256(key.encode()).hexdigest(): Client("alice", rate=1)}))
    for _ in range(2):
        client.get("/v1/model", headers={"Authorization": f"Bearer {key}"})
    assert [(line["status"], line["key"]) for line in log()] == [(200, "alice"), (429, "alice")]


def test_an_error_of_ours_is_logged_with_the_id_of_its_request(
    client: TestClient, backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend.error = RuntimeError("secret path")
    answer = client.post("/v1/samples", json=GOOD)
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])
    assert answer.headers["x-request-id"] in caplog.text
    assert "secret path" in caplog.text


def test_figures_are_in_prometheus_format(client: TestClient, backend: FakeBackend, model: ModelInfo) -> None:
    backend.delay_s = 0.2
    client.post("/v1/samples", json={**GOOD, "count": 3})
    client.post("/v1/samples", json={})
    client.get("/wp-admin")
    client.request("BREW", "/v1/model")
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = {
        (one.name, *sorted(one.labels.values())): one.value
        for family in families
        for one in family.samples
        if not one.name.endswith("_bucket")
    }
    assert samples["mrigen_samples_total", model.sha256, "FLAIR", "Healthy"] == 3
    assert samples["mrigen_samples_ongoing",] == 0
    assert samples["mrigen_stage_seconds_sum", "compute"] == 0.15
    assert samples["mrigen_stage_seconds_sum", "encode"] == 0.025
    stages = sum(samples["mrigen_stage_seconds_sum", stage] for stage in ("queue", "compute", "encode"))
    assert 0.2 <= stages <= samples["mrigen_http_request_seconds_sum", "/v1/samples"]
    assert (samples["mrigen_batch_places_total", "sample"], samples["mrigen_batch_places_total", "nothing"]) == (3, 5)
    assert not [key for key in samples if key[0].endswith("_created")]
    for route, status, method in [
        ("/v1/samples", "200", "POST"),
        ("/v1/samples", "422", "POST"),
        ("other", "404", "GET"),
        ("/v1/model", "405", "other"),
    ]:
        assert samples.pop(("mrigen_http_requests_total", *sorted((route, status, method)))) == 1
    assert not [key for key in samples if key[0] == "mrigen_http_requests_total"]
    assert samples["mrigen_model", model.sha256, model.name] == 1
