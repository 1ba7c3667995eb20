"""Jobs over HTTP, done by processes that only pretend: the queue, what is refused, and what can be fetched."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from serving_fakes import FACTS, MODEL_SHA256, FakeBackend

from jobs.serve.api import ModelInfo, model_named
from jobs.serve.app import make_app
from jobs.serve.bulk import store as module
from jobs.serve.bulk.body import MAX_JOB_BYTES, JobBody, in_json_words, plan_job
from jobs.serve.bulk.routes import job_routes
from jobs.serve.bulk.runner import JobRunner, Process, start_process
from jobs.serve.bulk.store import Job, JobStore
from jobs.serve.keys import Client as KeyClient
from jobs.serve.keys import Keys
from jobs.serve.meter import Meter
from jobs.serve.refusals import Refused
from mrigen.cohort.plan import read_plan
from mrigen.cohort.shard import manifest_part
from mrigen.errors import InputError
from mrigen.records import sample_schema, to_table, write_table
from mrigen.run import SUCCESS
from mrigen.storage import Location

ORDER = {"cells": "HC:T1=3,GBM:*=1", "seed": 5, "shard_size": 2}
Client = Callable[..., TestClient]


@pytest.fixture
def serve(tmp_path: Path, backend: FakeBackend, model: ModelInfo) -> Iterator[Client]:
    """Starts a server, or starts it again after the last one has ended, whose jobs are done by a piece of Python."""
    with ExitStack() as stack:

        def serve(code: str = "input()", max_waiting: int = 3, **options: Any) -> TestClient:
            stack.close()
            store, meter = JobStore(Location.parse(tmp_path), max_waiting), Meter([model])

            def start(job: Job) -> Process:
                model_named(job.order.model, [model])
                (store.samples(job) / SUCCESS).write_json({"cells": {"Healthy:T1w": 3}})
                return start_process(["-c", code], job.id)

            stack.enter_context(JobRunner(store, start, meter))
            plan = functools.partial(plan_job, facts=FACTS, model=None, max_num_steps=100)
            routes = job_routes(store, plan, options.get("keys"))
            app = make_app(backend, [model], jobs=routes, meter=meter, **options)
            return stack.enter_context(TestClient(app, "http://127.0.0.1"))

        yield serve


def until(client: TestClient, path: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (job := client.get(path).json())["status"] != status:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return dict(job)


def fill(samples: Location, shards: int) -> None:
    """Some of the shards of a data set, as far as the manifest tells."""
    schema = sample_schema((4, 4))
    for shard, rows in enumerate(read_plan(samples).shard(number) for number in range(shards)):
        records = [dict.fromkeys(schema.names) | {"id": row.id, "image": np.zeros((4, 4))} for row in rows]
        write_table(to_table(records, schema.with_metadata({"shard": str(shard)})), manifest_part(samples, shard))


def test_a_job_is_ordered_watched_fetched_and_deleted(
    serve: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve("import time; time.sleep(60)")
    answer = client.post("/v1/jobs", json=ORDER)
    assert answer.status_code == 202
    job = answer.json()
    path = answer.headers["location"]
    assert path == f"/v1/jobs/{job['id']}"
    assert (job["num_samples"], job["num_done"], job["results"]) == (8, 0, None)
    assert job["order"] == JobBody(**ORDER).model_dump(exclude_none=True)
    samples = Location.parse(tmp_path) / job["id"] / "samples"
    assert read_plan(samples).model_sha256 == MODEL_SHA256
    until(client, path, "running")
    fill(samples, 3)
    running = client.get(path).json()
    assert (running["num_done"], running["seconds_left"] is not None) == (6, True)
    refused = client.get(f"{path}/samples.zip")
    assert (refused.status_code, refused.json()) == (409, {"detail": "the job is running: it has no samples to fetch"})

    client = serve("input()")  # the server is started again: the process was killed, and another goes on
    done = until(client, path, "done")
    assert (done["num_done"], done["created"]) == (8, job["created"])
    assert client.get("/v1/jobs").json() == [done]
    made = f'mrigen_samples_total{{modality="T1w",pathology="Healthy",sha256="{MODEL_SHA256}"}} 3.0'
    wait_for(lambda: made in client.get("/metrics").text)
    (samples / "README.md").write_bytes(b"synthetic\n" * 99)
    zipped = client.get(done["results"]["zip"])
    assert zipped.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(zipped.content))
    assert archive.testzip() is None
    parts = [f"samples/manifest/shard-{shard:06d}.parquet" for shard in range(3)]
    assert archive.namelist() == ["samples/README.md", "samples/_SUCCESS.json", *parts, "samples/plan.json"]
    assert archive.read("samples/README.md") == b"synthetic\n" * 99
    assert client.get(done["results"]["zip"]).content == zipped.content
    with monkeypatch.context() as unpacked:  # HEAD tells the same, and packs nothing
        unpacked.setattr(Location, "files", None)
        head = client.head(done["results"]["zip"])
    assert (head.status_code, head.content) == (200, b"")
    differing = ("x-request-id",)
    assert all(head.headers[name] == zipped.headers[name] for name in zipped.headers if name not in differing)
    table = pq.read_table(io.BytesIO(client.get(done["results"]["parquet"]).content))
    assert table["id"].to_pylist() == [row.id for shard in range(3) for row in read_plan(samples).shard(shard)]
    assert table["image"].combine_chunks().to_numpy_ndarray().shape == (6, 4, 4)

    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == client.delete(path).status_code == 404
    gone(tmp_path / job["id"])


def gone(folder: Path) -> None:
    wait_for(lambda: not folder.exists())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_deleting_a_job_that_runs_ends_its_process(
    serve: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LATE_S", 0.1)
    alive = tmp_path / "alive"
    client = serve(f"import time\nwhile True: open({str(alive)!r}, 'w').close(); time.sleep(0.01)")
    first, second = (client.post("/v1/jobs", json=ORDER).headers["location"] for _ in range(2))
    until(client, first, "running")
    assert client.get(second).json()["status"] == "queued"
    client.delete(first)
    until(client, second, "running")
    gone(tmp_path / first.rpartition("/")[2])  # though another runs
    client.delete(second)
    gone(tmp_path / second.rpartition("/")[2])
    alive.unlink()
    time.sleep(0.1)
    assert not alive.exists()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('the model draws no scans'); raise SystemExit(2)", "the model draws no scans"),
        ("print('secret'); raise SystemExit(1)", "an error of the server: its log holds the reason"),
        ("import os; os.kill(os.getpid(), 9)", "an error of the server: its log holds the reason"),
    ],
)
def test_a_job_that_fails_says_why(serve: Client, code: str, told: str) -> None:
    client = serve(code)
    path = client.post("/v1/jobs", json=ORDER).headers["location"]
    assert until(client, path, "failed")["detail"] == told
    assert until(serve(), path, "failed")["detail"] == told  # and is not begun again
    assert client.get(f"{path}/samples.parquet").json() == {"detail": "the job is failed: it has no samples to fetch"}


def test_a_disk_that_fails_for_a_while_loses_no_job_and_a_fault_of_ours_that_job_alone(
    serve: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end, faults = JobStore.end, [RuntimeError("a fault of ours"), None, OSError("no such disk")]
    once = tmp_path / "once"
    code = f"import os, sys\nif not os.path.exists({str(once)!r}): open({str(once)!r}, 'w'); sys.exit(74)"

    def end_at_last(*arguments: Any) -> None:
        if faults and (fault := faults.pop()):
            raise fault
        end(*arguments)

    monkeypatch.setattr("jobs.serve.bulk.runner.RETRY_S", 0.1)
    monkeypatch.setattr(JobStore, "end", end_at_last)
    client = serve(code)
    first, second = (client.post("/v1/jobs", json=ORDER).headers["location"] for _ in range(2))
    until(client, first, "done")
    until(client, second, "failed")
    assert caplog.text.count(f"{first.rpartition('/')[2]}: trying again in 0.1 s") == 2
    assert "the disk is full" in caplog.text
    assert "a fault of ours" in caplog.text


def test_a_job_that_cannot_be_kept_is_503_and_leaves_nothing(
    serve: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    client = serve()
    with monkeypatch.context() as broken:
        broken.setattr(module, "write_plan", full)
        refused = client.post("/v1/jobs", json=ORDER)
    assert (refused.status_code, refused.json()) == (503, {"detail": "no job can be kept now"})
    wait_for(lambda: not list(tmp_path.iterdir()))
    assert client.get("/v1/jobs").json() == []


def test_a_job_that_is_deleted_while_it_is_looked_at_is_no_error(tmp_path: Path) -> None:
    store, body = JobStore(Location.parse(tmp_path), 1), JobBody(**ORDER)
    job = store.add(body, plan_job(body, FACTS, None, 100), None)
    store.delete(job)
    store.sweep()
    assert store.progress(job) == (0, None)
    store.begin(job)
    assert not list(tmp_path.iterdir())


def test_a_job_whose_model_is_served_no_longer_fails_with_its_name(serve: Client, tmp_path: Path) -> None:
    store, body = JobStore(Location.parse(tmp_path), 1), JobBody(**ORDER, model="gone")
    job = store.add(body, plan_job(body, FACTS, None, 100), None)
    failed = until(serve(), f"/v1/jobs/{job.id}", "failed")
    assert failed["detail"] == "model: 'gone' is not served here; known are fake"


def test_more_jobs_than_may_wait_are_429(serve: Client) -> None:
    client = serve("import time; time.sleep(60)", max_waiting=2)
    paths = [client.post("/v1/jobs", json=ORDER).headers["location"] for _ in range(2)]
    refused = client.post("/v1/jobs", json=ORDER)
    assert (refused.status_code, refused.json()) == (429, {"detail": "2 jobs wait already"})
    assert int(refused.headers["retry-after"]) == 60
    client.delete(paths[0])
    assert client.post("/v1/jobs", json=ORDER).status_code == 202


NAMES = ("alice", "bob")


def test_another_key_sees_nothing_of_a_job(serve: Client) -> None:
    client = serve(keys=Keys({hashlib.sha256(name.encode()).hexdigest(): KeyClient(name, quota=8) for name in NAMES}))
    assert client.post("/v1/jobs", json=ORDER).status_code == 401
    alice, bob = ({"Authorization": f"Bearer {name}"} for name in NAMES)
    path = client.post("/v1/jobs", json=ORDER, headers=alice).headers["location"]
    assert client.get(path, headers=alice).status_code == 200
    for answer in (client.get(path, headers=bob), client.delete(path, headers=bob)):
        assert answer.status_code == 404
    assert client.get("/v1/jobs", headers=bob).json() == []
    refused = client.post("/v1/jobs", json=ORDER, headers=alice)
    assert (refused.status_code, "has 0 left" in refused.json()["detail"]) == (429, True)


def test_jobs_that_ended_long_ago_are_removed_and_other_folders_are_left_alone(
    serve: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "job-0123456789abcdef").mkdir()  # what a delete left that was killed
    client = serve()
    path = client.post("/v1/jobs", json=ORDER).headers["location"]
    until(client, path, "done")
    monkeypatch.setattr(module, "KEPT", timedelta(0))
    gone(tmp_path / path.rpartition("/")[2])
    assert client.get("/v1/jobs").json() == []
    assert [folder.name for folder in tmp_path.iterdir()] == ["mine"]


def test_a_damaged_job_is_told(serve: Client, tmp_path: Path) -> None:
    (tmp_path / "job-0123456789abcdef").mkdir()
    (tmp_path / "job-0123456789abcdef/job.json").write_text('{"id": 3}')
    with pytest.raises(InputError, match=r"job.json is damaged, or of another version: take its folder away"):
        serve()


BAD: list[tuple[Any, str]] = [
    ({"cell": "HC:T1"}, "unknown field 'cell': did you mean cells?"),
    ({"cells": "HC:T1=x"}, "cells HC:T1=x: 'x' is no number of samples, 0 to 1,000,000,000"),
    ({"cells": "MS:PD"}, "never seen in training: Sclerosis:PD"),
    ({"cells": "HC:T1", "plan": {"HC:T1": 1}}, "only one of cells, plan, balance and subjects can say what to make"),
    ({"plan": 3}, "plan: must be an object of PATHOLOGY:MODALITY and numbers, or an array of rows"),
    ({"plan": [3]}, "plan: neither `PATHOLOGY:MODALITY: NUMBER` lines nor a list of rows"),
    ({"plan": [{"pathology": "HC"}]}, "plan, row 1: no modality"),
    ({"plan": {"HC:T1": True}}, "plan, HC:T1: 'True' is no number of samples, 0 to 1,000,000,000"),
    ({"plan": [{}] * 5001}, "plan: 5001 rows: 5000 are the most; give equal ones as one, with its count"),
    ({"plan": {"\ud800": 1}}, "unknown pathology"),
    ({"plan": {"HC:T1": 1}, "per_cell": 2}, "per_cell has no say beside plan"),
    ({"plan": {}}, "nothing is asked for: no cell has a number above 0"),
    ({"per_cell": True}, "per_cell: must be a valid integer, got true"),
    ({"cells": "HC:T1=99999,GBM:T1=2"}, "100001 samples are asked for: 100000 are the most of a job"),
    ({"subjects": "3"}, "subjects and modalities go together"),
    ({"subjects": "3", "modalities": "T9"}, "unknown modality"),
    ({"format": "dicom"}, "format 'dicom': known are bids"),
    ({"source": "site C"}, "source 'site C' is none that the model tells apart: it has no denoiser.source_token;"),
    ({"gates": "taste"}, "gates 'taste': known are"),
    ({"num_steps": 101}, "num_steps: 101 is more than 100, the most allowed here"),
    ({"slice_mm": 99}, "slice_mm 99 lies outside what the model was trained on: -20 to 46 mm"),
    ({"plan": [{"pathology": "HC", "modality": "T1", "slice_mm": "x"}]}, "plan, row 1: slice_mm 'x' is no number"),
    ({"cells": "HC:T1=" + "x" * 9999}, "..."),
]


@pytest.mark.parametrize(("order", "told"), BAD)
def test_a_bad_order_is_told_in_a_line_and_leaves_nothing(serve: Client, tmp_path: Path, order: Any, told: str) -> None:
    answer = serve().post("/v1/jobs", content=json.dumps(order).encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert "--" not in answer.json()["detail"]
    assert len(answer.json()["detail"]) <= 400
    assert not list(tmp_path.iterdir())


def test_no_path_of_the_server_is_told(tmp_path: Path) -> None:
    model = Location.parse(tmp_path / "secret/model")
    with pytest.raises(Refused, match="gates: the model's run has no data/: the model has to lie in the run"):
        plan_job(JobBody(cells="HC:T1", gates="labels"), FACTS, model, 100)
    assert in_json_words(InputError("cannot read /a/b/c"), Location.parse("/model")) == "cannot read /a/b/c"


def test_an_order_as_rows_is_that_of_a_file_and_a_large_one_is_refused(serve: Client, tmp_path: Path) -> None:
    client = serve()
    rows = [{"pathology": "MS", "modality": "*", "count": 2}, {"pathology": "HC", "modality": "T1", "slice_mm": 3}]
    assert client.post("/v1/jobs", json={"plan": rows}).json()["num_samples"] == 2 * 4 + 1
    assert client.post("/v1/jobs", json={"plan": rows * 20_000}).status_code == 413
    assert len(json.dumps(rows * 20_000)) > MAX_JOB_BYTES


def test_the_command_that_makes_the_same(model: ModelInfo) -> None:
    body = JobBody(subjects="GBM=2", modalities="T1w,FLAIR", allow_untrained=True, num_steps=3)
    told = "mrigen generate --out OUT --num-steps 3 --subjects GBM=2 --modalities T1w,FLAIR --allow-untrained"
    assert body.command() == told
    assert JobBody(model="a").command() == "mrigen generate --out OUT --model MODEL"


def test_openapi_describes_jobs_where_they_are_taken(serve: Client, client: TestClient) -> None:
    api = serve().get("/openapi.json").json()
    paths, schemas = api["paths"], api["components"]["schemas"]
    schema = schemas["JobBody"]
    assert {"enum": ["fake"], "type": "string"} in schema["properties"]["model"]["anyOf"]
    for name in ("num_steps", "slice_mm", "model"):  # the bounds and names of the models there are
        assert schema["properties"][name] == schemas["SampleBody"]["properties"][name]
    assert set(schema["properties"]) == set(JobBody.model_fields)
    assert all(field["description"] for field in schema["properties"].values())
    assert {"type": "null"} in schema["properties"]["plan"]["anyOf"]  # as it is taken
    assert {"202", "422", "429"} < set(paths["/v1/jobs"]["post"]["responses"])
    assert "application/zip" in paths["/v1/jobs/{job_id}/samples.zip"]["get"]["responses"]["200"]["content"]
    assert client.post("/v1/jobs", json=ORDER).status_code == 404


def test_a_wrong_method_is_told_all_that_the_path_has(serve: Client) -> None:
    client = serve()
    for path, allowed in (
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/v1/jobs/job-0123456789abcdef", "DELETE, GET, HEAD"),
        ("/v1/samples", "POST"),
        ("/metrics", "GET, HEAD"),
    ):
        answer = client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json() == {"detail": f"the method must be {allowed}"}
