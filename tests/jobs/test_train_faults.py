"""Training on Ray when it is told to stop, when the disk is full, and when a node is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from mrigen.labels import all_cells
from mrigen.storage import Location
from tests.command import mrigen_killed, mrigen_started, wait_until
from tests.fake_run import SIZE, write_data

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def settings(**training: int) -> list[str]:
    values = {"preview_every": 10**6, "checkpoint_every": 10**6, "num_steps": 10**6, **training}
    overrides = [f"autoencoder.training.{name}={value}" for name, value in values.items()]
    return ["--preset", "tiny", *(part for text in [f"data.image_size={SIZE}", *overrides] for part in ("--set", text))]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_data(tmp_path / "run", all_cells()[:4], {"train": 2, "val": 1})
    return tmp_path / "run"


@pytest.mark.parametrize(("number", "num_workers"), [(signal.SIGTERM, 2), (signal.SIGINT, 1)])
def test_who_is_told_to_stop_leaves_a_checkpoint_and_a_status_of_its_own(run, number, num_workers):
    status, error = mrigen_killed(
        lambda: any(run.glob("vae/tensorboard/events*")),
        *("train-vae", run, "--num-workers", num_workers, *settings()),
        by=number,
    )
    [checkpoint] = (run / "vae/checkpoints").glob("step-*/COMPLETE.json")
    done = int(checkpoint.parent.name.removeprefix("step-"))
    assert status == os.EX_TEMPFAIL
    last = error.strip().splitlines()[-1]
    assert last == f"mrigen: stopped after {done} of 1000000 steps: the same command goes on from there"
    assert "Traceback" not in error
    assert sorted(os.listdir(run)) == ["config.json", "data", "vae"]


def test_what_cannot_be_written_ends_training_at_once(run):
    (run / "vae").mkdir()
    (run / "vae/previews").touch()  # so that nothing can be written below it
    with mrigen_started("train-vae", run, "--num-workers", 2, *settings(preview_every=5)) as process:
        _, error = process.communicate(timeout=300)
    assert process.returncode == os.EX_IOERR
    assert error.strip().splitlines()[-1] == f"mrigen: error: [Errno 17] File exists: '{run}/vae/previews'"
    assert "Traceback" not in error
    assert ".ray_train" not in os.listdir(run)


def test_a_store_that_refuses_ends_training_at_once(run, bucket):
    import httpx

    store = Location.parse(bucket.format("run"))
    store.upload(run)
    authority = f"http://{parse_qs(bucket)['endpoint_override'][0]}/moto-api/reset-auth"
    with mrigen_started("train-vae", bucket.format("run"), *settings(preview_every=5)) as process:
        try:
            wait_until(lambda: bool((store / "vae/previews").files()), process)
            httpx.post(authority, content="0").raise_for_status()  # from the next request on the key is not known
            _, error = process.communicate(timeout=300)
        finally:
            process.kill()
            httpx.post(authority, content="inf")
    assert process.returncode == os.EX_IOERR
    last = error.strip().splitlines()[-1]
    assert last.startswith("mrigen: error: ")
    assert "AWS Error" in last
    assert "Traceback" not in error


def test_a_lost_node_leaves_fewer_workers_and_another_one_makes_it_good(run, tmp_path):
    from ray.cluster_utils import Cluster

    told = tmp_path / "stderr"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        verb = ["train-vae", str(run), "--num-workers", "1:2", *settings(checkpoint_every=5)]
        code = f"import jobs.cli, jobs.train_workers as t; t.RESIZE_S = 2.0; jobs.cli.main({verb})"
        environment = os.environ | {"RAY_ADDRESS": cluster.address}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=told.open("w"), text=True)

        def wait_for_workers(number: int) -> None:
            at_work = r"a step of 8 images on (\d) worker"
            wait_until(lambda: re.findall(at_work, told.read_text())[-1:] == [str(number)], process)

        wait_for_workers(2)
        wait_until(lambda: any(run.glob("vae/checkpoints/*/COMPLETE.json")), process)
        cluster.remove_node(lost, allow_graceful=False)
        wait_for_workers(1)
        cluster.add_node(num_cpus=1)
        wait_for_workers(2)
        process.send_signal(signal.SIGTERM)
        process.wait(100)
    finally:
        process.kill()
        cluster.shutdown()
    # Not by its status: after a lost node Ray 2.60 may crash while the interpreter ends.
    assert told.read_text().splitlines()[-1].endswith("the same command goes on from there"), told.read_text()
    steps = [json.loads(line)["step"] for line in (run / "vae/journal.jsonl").open()]
    assert steps == sorted(set(steps))  # it went on each time
    assert ".ray_train" not in os.listdir(run)
