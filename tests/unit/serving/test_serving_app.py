"""The HTTP side against a backend that makes noise: what is answered, what is refused, and how."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.serve.api import MAX_BODY_BYTES, ModelInfo, SampleBody
from jobs.serve.keys import Client, Keys
from jobs.serve.refusals import Refused
from mrigen.config import SamplerConfig
from mrigen.diffusion.solvers import SOLVERS

NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
GOOD = {"pathology": "Healthy", "modality": "FLAIR"}
JSON = {"Content-Type": "application/json"}


def post(client: TestClient, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Any:
    content = raw if raw is not None else json.dumps(body).encode()
    return client.post("/v1/samples", content=content, headers=JSON | headers)


def test_one_sample_is_the_file_itself_and_says_that_it_is_synthetic(client: TestClient, model: ModelInfo) -> None:
    answer = post(client, {**GOOD, "seed": 7, "format": "png"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (16, 16)
    assert answer.headers["x-mrigen-synthetic"] == "true"
    assert answer.headers["x-mrigen-model-sha256"] == model.sha256
    assert answer.headers["x-mrigen-seed"] == "7"
    assert answer.headers["x-mrigen-sample-seed"] == "7000"
    assert answer.headers["x-mrigen-trained-cell"] == "true"
    assert answer.headers["x-mrigen-solver"] == model.defaults.solver
    assert answer.headers["x-mrigen-guidance-scale"] == str(model.defaults.guidance_scale)
    assert answer.headers["x-mrigen-num-steps"] == str(model.defaults.num_steps)


@pytest.mark.parametrize(
    ("format", "media_type", "name"),
    [
        (None, "application/octet-stream", "synthetic_Healthy_FLAIR_seed7_000.nii.gz"),
        ("npy", "application/octet-stream", "synthetic_Healthy_FLAIR_seed7_000.npy"),
        ("png", "image/png", "synthetic_Healthy_FLAIR_seed7_000.png"),
    ],
)
def test_each_format_has_its_type_and_name(client: TestClient, format: str | None, media_type: str, name: str) -> None:
    answer = post(client, {**GOOD, "seed": 7} | ({"format": format} if format else {}))
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"].endswith(f'; filename="{name}"')


def test_several_samples_are_an_archive_of_the_single_ones(client: TestClient) -> None:
    answer = post(client, {**GOOD, "seed": 7, "count": 3, "format": "npy"})
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    index = json.loads(archive.read("index.json"))
    assert [entry["index"] for entry in index["samples"]] == [0, 1, 2]
    assert len({np.load(io.BytesIO(archive.read(entry["file"]))).tobytes() for entry in index["samples"]}) == 3
    alone = post(client, {**GOOD, "seed": 7, "format": "npy"})
    assert archive.read(index["samples"][0]["file"]) == alone.content
    assert "x-mrigen-sample-seed" not in answer.headers


def test_a_seed_left_out_is_drawn_and_told(client: TestClient) -> None:
    first, second = post(client, GOOD), post(client, GOOD)
    assert first.headers["x-mrigen-seed"] != second.headers["x-mrigen-seed"]
    again = post(client, {**GOOD, "seed": int(first.headers["x-mrigen-seed"])})
    assert again.content == first.content
    assert int(first.headers["x-mrigen-seed"]) < 2**53


def test_settings_that_were_sent_replace_the_defaults_and_the_rest_stay(client: TestClient, backend: Any) -> None:
    scales = {"guidance_scale": 1.0, "pathology_scale": 2.0, "modality_scale": 0.5}
    post(client, {**GOOD, **scales, "num_steps": 9, "solver": "ddim", "slice_mm": -3.5})
    sent = backend.orders[-1]
    assert sent.sampler == SamplerConfig(solver="ddim", num_steps=9, **scales, compute_batch=8)
    assert sent.slice_mm == -3.5


@pytest.mark.parametrize(("typed", "meant"), [("GBM", "Glioblastoma"), ("ms", "Sclerosis"), (" hc ", "Healthy")])
def test_usual_spellings_are_understood(client: TestClient, typed: str, meant: str) -> None:
    assert post(client, {"pathology": typed, "modality": "t1gd"}).headers["x-mrigen-pathology"] == meant


def test_an_untrained_pair_is_made_only_when_allowed_and_marked(client: TestClient) -> None:
    body = {"pathology": "Sclerosis", "modality": "PD"}
    refused = post(client, body)
    assert refused.status_code == 422
    assert "allow_untrained" in refused.json()["detail"]
    assert "Sclerosis in PD" in refused.json()["detail"]
    allowed = post(client, {**body, "allow_untrained": True})
    assert allowed.status_code == 200
    assert allowed.headers["x-mrigen-trained-cell"] == "false"


def body_with(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


*FIRST, LAST = SOLVERS
BAD: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty"),
    ("no end", b'{"pathology": "', "not JSON: Unterminated string starting at character 14"),
    ("no JSON", b"pathology=Healthy", "not JSON"),
    ("cut off", b'{"pathology": "Hea', "not JSON"),
    ("byte order mark", b"\xef\xbb\xbf" + body_with(), "not JSON"),
    ("Latin-1", '{"pathology": "Sclérose"}'.encode("latin-1"), "UTF-8"),
    ("UTF-16", json.dumps(GOOD).encode("utf-16"), "UTF-8"),
    ("null byte", b'{"pathology": "\x00"}', "not JSON"),
    ("null", b"null", "object"),
    ("string", b'"Healthy"', "object"),
    ("nested deeply", b"[" * 8000, "nested"),
    ("nothing", b"{}", "pathology"),
    ("unknown key", body_with(stepz=3), "unknown field 'stepz'"),
    ("misspelt key", body_with(guidance=3), "did you mean guidance_scale?"),
    ("surrogate key", b'{"pathology": "Healthy", "modality": "PD", "\\ud800": 1}', "must be a valid string"),
    ("key twice", b'{"pathology": "Healthy", "pathology": "Dementia", "modality": "PD"}', "twice"),
    ("unknown pathology", body_with(pathology="Glioblastomy"), "did you mean Glioblastoma?"),
    ("unknown modality", body_with(modality="T3"), "known are T1w, T1ce, T2w, FLAIR, PD"),
    ("label of nulls", body_with(pathology="\0\0"), "known are Healthy"),
    ("long label", body_with(pathology="x" * 10_000), "10000 characters long"),
    ("number as label", body_with(pathology=3), "pathology: must be a string"),
    ("lone surrogate", b'{"pathology": "\\ud800", "modality": "PD"}', "unknown pathology"),
    ("NaN", b'{"pathology": "Healthy", "modality": "PD", "guidance_scale": NaN}', "NaN"),
    ("minus Infinity", b'{"pathology": "Healthy", "modality": "PD", "slice_mm": -Infinity}', "Infinity"),
    ("overflow", b'{"pathology": "Healthy", "modality": "PD", "guidance_scale": 1e999}', "guidance_scale: must be"),
    ("true as count", body_with(count=True), "count: must be a valid integer, got true"),
    ("null as label", body_with(pathology=None), "got null"),
    ("too many", body_with(count=65), "count: must be less than or equal to 64"),
    ("seed too large", body_with(seed=2**63), "seed: must be less than 9223372036854775808"),
    ("seed enormous", body_with(seed=10**4000), "seed"),
    ("too many digits", b'{"pathology": "Healthy", "modality": "PD", "seed": ' + b"9" * 5000 + b"}", "digits"),
    ("too many steps", body_with(num_steps=101), "num_steps: 101 is more than 100"),
    ("too much guidance", body_with(guidance_scale=51), "guidance_scale: must be less than or equal to 50"),
    ("unknown solver", body_with(solver="euler"), f"solver: must be {', '.join(map(repr, FIRST))} or {LAST!r}"),
    ("unknown format", body_with(format="dicom"), "format: must be 'nifti', 'png' or 'npy'"),
    ("slice below", body_with(slice_mm=-20.5), "slice_mm: -20.5 lies outside -20 to 46"),
    ("text as permission", body_with(allow_untrained="yes"), "allow_untrained"),
]


@pytest.mark.parametrize(("raw", "told"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_request_is_told_in_a_line_what_is_wrong(client: TestClient, backend: Any, raw: bytes, told: str) -> None:
    answer = post(client, raw=raw)
    assert answer.status_code == 422
    assert list(answer.json()) == ["detail"]
    detail = answer.json()["detail"]
    assert told in detail
    assert "\n" not in detail
    assert len(detail) < 400
    assert not backend.orders


def test_many_faults_are_cut_short(client: TestClient) -> None:
    detail = post(client, {f"k{i}" * 20: i for i in range(100)}).json()["detail"]
    assert "and 98 more" in detail
    assert len(detail) < 1000


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
)
def test_the_body_must_be_declared_as_json(client: TestClient, content_type: str) -> None:
    """A page of another site can send plain text to a server on this machine, but not JSON."""
    answer = client.post("/v1/samples", content=body_with(), headers={"Content-Type": content_type})
    assert answer.status_code == 422
    assert "Content-Type" in answer.json()["detail"]


def test_a_charset_beside_json_is_no_fault(client: TestClient) -> None:
    assert post(client, GOOD, **{"Content-Type": "Application/JSON; charset=utf-8"}).status_code == 200


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 1_000_000])
def test_a_large_body_is_refused(client: TestClient, size: int) -> None:
    declared = post(client, raw=body_with(pathology="x" * size))
    streamed = client.post("/v1/samples", content=iter([b"{", b" " * size]), headers=JSON)
    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert answer.json() == {"detail": f"the body is larger than {MAX_BODY_BYTES} bytes"}


def test_a_body_of_the_largest_size_is_read(client: TestClient) -> None:
    assert post(client, raw=body_with().ljust(MAX_BODY_BYTES)).status_code == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(list(SampleBody.model_fields))
relaxed = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@relaxed
@given(raw=st.binary(max_size=200))
def test_no_bytes_are_an_error_of_the_server(client: TestClient, raw: bytes) -> None:
    assert post(client, raw=raw).status_code == 422


@relaxed
@given(changes=st.dictionaries(field_names | st.text(st.characters(codec=None), max_size=9), json_values, max_size=6))
def test_no_values_are_an_error_of_the_server(client: TestClient, changes: dict[str, Any]) -> None:
    raw = json.dumps(GOOD | changes).encode()  # ASCII: lone surrogates are escaped, NaN is written as it is
    answer = post(client, raw=raw)
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        assert len(answer.json()["detail"]) < 1000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/samples", 405),
        ("POST", "/v1/model", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/redoc", 404),
        ("GET", "/v1/model/", 404),
        ("DELETE", "//evil.example/v1/model/", 404),
    ],
)
def test_other_paths_and_methods_are_refused(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]


def test_a_full_queue_is_429_with_the_time_to_wait(client: TestClient, backend: Any) -> None:
    backend.error = Refused(429, "too many requests wait already", retry_after_s=2)
    answer = post(client, GOOD)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


def test_what_could_not_be_made_in_time_is_refused_at_once(client_of: Callable[..., TestClient], backend: Any) -> None:
    client, large = client_of(request_timeout_s=1.0), GOOD | {"count": 64}
    assert post(client, GOOD).status_code == 200  # a batch of eight in 0.15 s, as the backend tells
    with ThreadPoolExecutor(1) as thread:
        backend.delay_s = 0.9
        first = thread.submit(post, client, large)
        while len(backend.orders) < 2:
            time.sleep(0.01)
        refused = post(client, large)
        backend.delay_s = 0.0
        assert (refused.status_code, len(backend.orders)) == (429, 2)
        assert post(client, GOOD).status_code == 200
        assert first.result().status_code == 200


def test_slow_samples_are_504_and_their_work_ends(client_of: Callable[..., TestClient], backend: Any) -> None:
    backend.delay_s = 5.0
    answer = post(client_of(request_timeout_s=0.05), GOOD, **{"X-Request-Timeout-Seconds": "0"})
    assert answer.status_code == 504
    assert "0.05 s" in answer.json()["detail"]
    assert backend.cancelled == 1


def test_an_error_of_ours_tells_no_details(client: TestClient, backend: Any) -> None:
    backend.error = RuntimeError("secret path /root/model")
    answer = post(client, GOOD)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert list(answer.json()) == ["detail"]


def test_the_key_is_asked_for_where_there_is_one(client_of: Callable[..., TestClient], backend: Any) -> None:
    client = client_of(keys=Keys({hashlib.sha256(b"correct horse battery").hexdigest(): Client("alice", quota=3)}))
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic correct horse battery"},
        {"Authorization": "correct horse battery"},
    ):
        for answer in (
            post(client, GOOD, **headers),
            client.get("/v1/model", headers=headers),
            client.get("/metrics", headers=headers),
        ):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer" in answer.json()["detail"]
    assert not backend.orders
    right = {"Authorization": "Bearer correct horse battery"}
    assert post(client, GOOD, **right).status_code == 200
    assert client.get("/v1/model", headers=right).status_code == 200
    assert post(client, {**GOOD, "count": 3}, **right).status_code == 429
    backend.error = Refused(503, "the worker was lost")
    assert post(client, {**GOOD, "count": 2}, **right).status_code == 503  # which costs nothing
    backend.error = None
    assert post(client, {**GOOD, "count": 2}, **right).status_code == 200
    assert post(client, GOOD, **right).status_code == 429
    assert client.get("/v1/healthz").status_code == 200
    api = client.get("/openapi.json").json()
    assert set(api["components"]["securitySchemes"]) == {"HTTPBearer"}
    assert {"401"} < set(api["paths"]["/v1/samples"]["post"]["responses"])


def test_the_model_is_described(client: TestClient) -> None:
    answer = client.get("/v1/model").json()
    assert (answer["name"], answer["note"]) == ("fake", "made up")
    assert answer["synthetic"] is True
    assert answer["data"]["image_size"] == 64
    assert len(answer["cells"]) == 20
    untrained = [cell for cell in answer["cells"] if not cell["trained"]]
    assert untrained == [{"pathology": "Sclerosis", "modality": "PD", "training_images": 0, "trained": False}]
    assert answer["defaults"]["num_steps"] == 3
    assert answer["limits"] == {"count": 64, "num_steps": 100, "body_bytes": 16384, "slice_mm": [-20.0, 46.0]}


def test_health(client: TestClient, model: ModelInfo) -> None:
    for path in ("/v1/healthz", "/v1/livez", "/v1/readyz"):
        assert client.get(path).json() == {"status": "ok", "model_sha256": model.sha256}
        head = client.head(path)
        assert (head.status_code, head.headers["content-type"]) == (200, "application/json")


def test_without_a_worker_the_server_lives_but_is_not_ready(client: TestClient, backend: Any) -> None:
    backend.is_ready = False
    assert client.get("/v1/livez").status_code == 200
    answer = client.get("/v1/readyz")
    assert (answer.status_code, answer.json()) == (503, {"detail": "no worker is ready"})
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_body_is_415(client: TestClient, encoding: str) -> None:
    answer = post(client, GOOD, **{"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["detail"]


def test_openapi_describes_the_request_and_every_answer(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    operation = api["paths"]["/v1/samples"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/SampleBody"
    }
    schema = api["components"]["schemas"]["SampleBody"]
    assert set(schema["properties"]) == set(SampleBody.model_fields)
    assert schema["required"] == ["pathology", "modality"] == list(schema["properties"])[:2]
    assert schema["additionalProperties"] is False
    assert "$defs" not in json.dumps(schema)
    assert "$ref" not in json.dumps(schema)
    assert all(field["description"] for field in schema["properties"].values())
    assert set(operation["responses"]) == {"200", *map(str, (403, 405, 408, 413, 415, 421, 422, 429, 503, 504))}
    assert schema["properties"]["modality"]["enum"] == ["T1w", "T1ce", "T2w", "FLAIR", "PD"]
    assert {"minimum": 1, "maximum": 100, "type": "integer"} in schema["properties"]["num_steps"]["anyOf"]
    assert {"minimum": -20.0, "maximum": 46.0, "type": "number"} in schema["properties"]["slice_mm"]["anyOf"]
    assert json.dumps(schema["properties"]["seed"]["anyOf"][0]["exclusiveMaximum"]) == str(2**63)  # and no float
    assert "securitySchemes" not in api.get("components", {})
    assert set(operation["responses"]["200"]["content"]) == {"image/png", "application/octet-stream", "application/zip"}
    assert set(api["paths"]) == {"/v1/samples", "/v1/model", "/v1/models", "/v1/healthz", "/v1/livez", "/v1/readyz"}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_need_no_network(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert re.findall('src="(.*?)"', page.text) == (["niivue-0.69.0.js"] if path == "/" else [])
    assert "v1/samples" in page.text
    assert "synthetic: no scan of a person, and not for diagnosis" in page.text


def test_the_viewer_is_the_one_that_its_authors_published(client: TestClient) -> None:
    script = client.get("/niivue-0.69.0.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cache-control"].endswith("immutable")
    # npm pack @niivue/niivue@0.69.0 && tar xzf niivue-niivue-0.69.0.tgz && sha256sum package/dist/niivue.umd.js
    assert hashlib.sha256(script.content).hexdigest() == NIIVUE_SHA256
