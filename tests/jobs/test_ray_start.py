"""A cluster as the guide starts it: the whole chain as a job, and a service, on nodes that are lost and replaced."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest
import yaml

from mrigen.pipeline import Pipeline
from tests.command import hashes, mrigen, wait_for, wait_until
from tests.fake_scans import write_bids
from tests.nginx import NGINX, nginx_before
from tests.ports import free_port
from tests.ray_nodes import ROOT, Nodes, works
from tests.workers import trained

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

BUSY_S = 600.0
"""That each part may take where the machine is busy."""
STEPS = ["num_steps=30", "checkpoint_every=5", "preview_every=1000", "log_every=1"]
SETTINGS = ["data.spacing_mm=6", *(f"{part}.training.{step}" for part in ("autoencoder", "denoiser") for step in STEPS)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A head and two workers."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as short:
        nodes = Nodes(tmp_path_factory.mktemp("cluster"), Path(short))
        try:
            nodes.start()
            nodes.add(2)
            yield nodes
        finally:
            nodes.end()


def test_the_chain_is_a_job_and_loses_nodes(nodes: Nodes, no_ray: None, no_data_page: None, tmp_path: Path) -> None:
    assert httpx.get(f"{nodes.url}/api/jobs/").status_code == 401
    assert httpx.get(f"{nodes.url}/api/jobs/", headers={"Authorization": f"Bearer {nodes.token}"}).status_code == 200

    scans = write_bids(tmp_path / "scans", {f"{told}{n}": told for told in ("MS", "healthy") for n in range(5)})
    run, undisturbed, log = tmp_path / "run", tmp_path / "undisturbed", tmp_path / "log"
    settings = " ".join(f"--set {setting}" for setting in ["data.image_size=32", *SETTINGS])
    order = ["--cells", "MS:*=20,HC:T1w=20", "--shard-size", "4", "--redraws", "0"]
    chain = [
        f"mrigen prepare {scans} {run} --preset tiny {settings}",
        f"mrigen train-vae {run} --num-workers 2",
        f"mrigen encode {run}",
        f"mrigen train-ldm {run} --num-workers 2",
        f"mrigen generate --model {run}/model --out {run}/samples {' '.join(order)}",
        f"mrigen evaluate {run}",
    ]
    # Each command leaves a file behind; a node is killed amid five of them.
    job = nodes.submit(log, *(f"{command} && touch {tmp_path}/{command.split()[1]}" for command in chain))
    for after, kind in [
        (scans, "_work_once"),  # prepare
        (tmp_path / "train-vae", "MapWorker"),  # encode
        (run / "ldm/checkpoints/step-00000010/COMPLETE.json", "RayTrainWorker"),
        (run / "samples/manifest/shard-000002.parquet", "MapWorker"),
        (tmp_path / "generate", "MapWorker"),  # evaluate
    ]:
        wait_until(after.exists, job, BUSY_S)
        assert kind != "RayTrainWorker" or all(works(node, kind) for node in nodes.workers)
        nodes.replace_one(kind, BUSY_S)
    assert job.wait(BUSY_S) == 0, log.read_text()
    assert json.loads((run / "report/metrics.json").read_text())

    # The same without Ray, in as many workers.
    words = [word for setting in ["data.image_size=32", *SETTINGS] for word in ("--set", setting)]
    assert mrigen("prepare", scans, undisturbed, "--preset", "tiny", *words) == 0
    trained([undisturbed], [("2", *SETTINGS)])
    assert mrigen("generate", "--model", undisturbed / "model", "--out", undisturbed / "samples", *order) == 0
    told_later = "README.md", "_SUCCESS.json"  # `evaluate` puts its figures into the card
    for part, without in (("data", ()), ("model", ()), ("samples", ("index.html", *told_later))):
        assert hashes(run / part, *without) == hashes(undisturbed / part, *without), part
    assert mrigen("verify", run / "samples") == 0


def test_a_serve_config_is_upgraded_and_loses_nodes(nodes: Nodes, tiny_run: Path, tmp_path: Path) -> None:
    nodes.add()  # two replicas of a CPU each, and a front
    config, port = yaml.safe_load((ROOT / "cluster/serve.yaml").read_text()), free_port()
    config["proxy_location"] = "HeadOnly"  # nodes of one machine cannot all listen at one port
    config["http_options"]["port"] = port

    def deploy(model: Path | None) -> None:
        config["applications"][0]["args"] = {"model": model and str(model), "num_replicas": 2}
        (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
        nodes.run("serve", "deploy", str(tmp_path / "serve.yaml"), "--address", nodes.url)

    def ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/readyz").status_code == 200
        return False

    body = {"pathology": "MS", "modality": "FLAIR", "seed": 7, "num_steps": 2, "format": "npy"}
    answers: list[httpx.Response] = []
    enough = Event()

    def ask() -> None:
        with httpx.Client(timeout=120) as client:
            while not enough.wait(0.1):
                answers.append(client.post(f"{url}/samples", json=body))

    def wait_for_answers(model: Path | None) -> None:
        seen, sha256 = len(answers), Pipeline.load(model).model_sha256

        def came() -> bool:
            last = [answer.headers.get("X-Mrigen-Model-Sha256") for answer in answers[seen:][-4:]]
            return last == [sha256] * 4

        wait_for(came, BUSY_S)

    deploy(None)
    entrance = nginx_before(port, tmp_path) if NGINX else contextlib.nullcontext(port)
    with entrance as outer, ThreadPoolExecutor(2) as pool:
        url = f"http://127.0.0.1:{outer}/v1"
        wait_for(ready, BUSY_S)
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            wait_for_answers(None)
            deploy(tiny_run / "model")
            wait_for_answers(tiny_run / "model")
            for kind in (":Sampler", ":Front")[: 2 if NGINX else 1]:  # which asks again what a front was answering
                nodes.replace_one(kind, BUSY_S)
                wait_for(lambda: sum(works(node, ":Sampler") for node in nodes.workers) == 2, BUSY_S)
                wait_for_answers(tiny_run / "model")
        finally:
            enough.set()
    assert [one.result() for one in asking] == [None, None]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 2  # one of each model, whichever replica made it
