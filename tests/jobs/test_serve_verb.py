"""The command `mrigen serve`: its options, its end, and its jobs when it is killed."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

import mrigen as mrigen_package
from jobs.placement import Placement
from jobs.serve.bulk import job_process
from jobs.serve.bulk.body import JobBody
from jobs.serve.bulk.store import Job
from mrigen.client import Client, JobFailed
from mrigen.cohort.order import CohortOrder
from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.process.lease import leased
from mrigen.stages.generate import generate_run
from mrigen.storage import Location
from tests.command import hashes, mrigen, wait_for
from tests.ports import free_port


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Path:
    """A model folder of the `tiny` preset."""
    return tiny_run / "model"


JOB = {"cells": "HC:T1=40,GBM:FLAIR=24", "seed": 3, "shard_size": 4, "redraws": 0, "model": "tiny"}
EMBEDDED = Path(mrigen_package.__file__).parent / "embedded" / "model"


def of_generate(model: Path, folder: Path) -> dict[str, str]:
    """Hashes of the data set that JOB orders, made here."""
    order = CohortOrder(cells="HC:T1=40,GBM:FLAIR=24", seed=3, shard_size=4, redraws=0)
    command = (
        "mrigen generate --out OUT --model MODEL --cells HC:T1=40,GBM:FLAIR=24 --seed 3 --redraws 0 --shard-size 4"
    )
    generate_run(Location.parse(folder), Location.parse(model), one_by_one, order, command=command)
    return hashes(folder)


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_makes_the_bytes_of_generate_though_its_server_is_killed_amid(model: Path, tmp_path: Path) -> None:
    port = free_port()
    url, where = f"http://127.0.0.1:{port}", ["--port", str(port), "--jobs", str(tmp_path / "jobs")]
    models = ["--model", str(EMBEDDED), "--model", f"tiny={model}"]
    command = [sys.executable, "-m", "jobs.cli", "serve", *models, *where]
    with subprocess.Popen(command) as server, Client(url) as client:
        job = client.order(**JOB)["id"]
        wait_for(lambda: client.job(job)["num_done"] > 0, 120)
        server.kill()
    with subprocess.Popen(command) as server, Client(url) as client:
        done = client.wait(job)
        assert (done["status"], done["num_done"], done["detail"]) == ("done", 64, None)
        client.download(job, tmp_path / "job.zip")
        zipfile.ZipFile(tmp_path / "job.zip").extractall(tmp_path)
        with pytest.raises(JobFailed, match=r"take them as they are \(redraws 0\)"):
            client.wait(client.order(**JOB | {"redraws": 1})["id"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(50) == 0
    assert hashes(tmp_path / "samples") == of_generate(model, tmp_path / "generate")


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (InputError("/jobs/job-1/samples is in use: --per-cell"), 2, "the data set is in use: per_cell\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 74, ""),
    ],
)
def test_the_process_of_a_job_tells_how_it_ended(
    fault: Exception, status: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def generate(*arguments: object, **options: object) -> None:
        raise fault

    job = Job(id="job-1", key=None, order=JobBody(), num_samples=1, created=datetime.now(UTC))
    monkeypatch.setattr(job_process, "generate_run", generate)
    monkeypatch.setattr(job_process, "end_with_the_server", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(job_process.line_for(job, "/jobs", None, Placement())))
    with pytest.raises(SystemExit) as ended:
        job_process.main()
    assert (ended.value.code, capsys.readouterr().out) == (status, told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "{tmp}"], "is no model folder"),
        (["--num-replicas", "3:2"], "'3:2' is neither a number above 0 nor two such, as 2:16"),
        (["--model", "s4://bucket/model"], "s4://bucket/model"),
        (["--port", "{taken}"], "address already in use; choose another with --port"),
    ],
)
def test_bad_options_end_with_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = str(listener.getsockname()[1])
        filled = [argument.format(tmp=tmp_path, taken=taken) for argument in arguments]
        if "--port" not in filled:
            filled += ["--port", str(free_port())]
        assert mrigen("serve", *filled) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Loading" not in line]
    assert len(lines) == 1
    assert told in lines[0]


def test_a_folder_of_jobs_that_another_server_has_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with leased(Location.parse(tmp_path)):
        assert mrigen("serve", "--port", free_port(), "--jobs", tmp_path) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{tmp_path} is in use by" in line
    assert not list(tmp_path.iterdir())


def test_a_weak_key_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MRIGEN_API_KEY", "short")
    assert mrigen("serve", "--port", free_port()) == 2
    assert "MRIGEN_API_KEY must be at least 16" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_what_to_paste_and_stops_cleanly(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    port, log = free_port(), tmp_path / "log"
    key = "a-key-of-some-length"
    command = [sys.executable, "-m", "jobs.cli", "serve", "--model", str(model), "--port", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "MRIGEN_API_KEY": key}
        )
    try:
        wait_for(lambda: "-o sample.png" in log.read_text() or server.poll() is not None, 240)
        paste = log.read_text().split("\n\n", 1)[1]
        subprocess.run(["bash", "-c", paste], cwd=tmp_path, check=True, env={**os.environ, "MRIGEN_API_KEY": key})
        assert (tmp_path / "sample.png").read_bytes().startswith(b"\x89PNG")
        assert httpx.get(f"http://127.0.0.1:{port}/v1/model").status_code == 401
        server.send_signal(number)
        assert server.wait(50) == 0
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/v1/healthz")
