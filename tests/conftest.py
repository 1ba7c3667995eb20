"""Fixtures for all tests. Ray's environment is set before anything imports it."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.2",
    RAY_TRAIN_ENABLE_PREEMPTION_WATCHER="0",
    RAY_TRAIN_METRICS_ENABLED="0",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S="240",
    HF_HUB_OFFLINE="1",
    OMP_NUM_THREADS="1",  # the networks are small, and two threads wait for each other on a busy machine
)
os.environ.pop("RAY_ADDRESS", None)

import pytest

# Whether bytes outlive a loss of power no test can see, and each file would wait for the disk.
os.fsync = lambda _: None


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several test processes (`make test`) one has all tests that share the Ray cluster; others share by files.

    Those are the longest, and come first.
    """

    def shares_ray(item: pytest.Item) -> bool:
        return "ray_cluster" in getattr(item, "fixturenames", ())

    items.sort(key=lambda item: not shares_ray(item))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if shares_ray(item) else str(item.path)))


def pytest_collection_finish() -> None:
    """What was imported stays until the end: the garbage collector need not look at it thousands of times."""
    gc.freeze()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole test session."""
    import ray

    from jobs.placement import connect

    connect()
    yield
    ray.shutdown()


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs do in this process what they would do on Ray: for tests of what they do, not of where."""
    from mrigen.each import one_by_one

    monkeypatch.setattr("jobs.each_on_ray.EachOnRay", lambda placement: one_by_one)


@pytest.fixture
def no_data_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """`prepare` leaves no page, whose plots take longer than a few small scans."""
    monkeypatch.setattr("mrigen.stages.prepare.write_data_page", lambda *_: None)


@pytest.fixture
def bucket() -> Iterator[str]:
    """A URI of a bucket on an S3 server of our own, up to the path."""
    import pyarrow.fs as pafs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    filesystem = pafs.S3FileSystem(
        access_key="a", secret_key="b", region="us-east-1", scheme="http", endpoint_override=f"{host}:{port}",
        allow_bucket_creation=True,
    )  # fmt: skip
    filesystem.create_dir("bucket")
    yield f"s3://a:b@bucket/{{}}?region=us-east-1&scheme=http&endpoint_override={host}%3A{port}"
    server.stop()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans that MRIGEN_REAL_DATA names."""
    folder = os.environ.get("MRIGEN_REAL_DATA")
    if not folder:
        pytest.skip("MRIGEN_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A run folder that the `tiny` preset was trained in, without Ray, on made-up images of 32 pixels.

    It has data/, vae/, latents/, ldm/ and model/; (Sclerosis, PD) was held out. Tests only read it. The first test
    process that needs it makes it for all.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    with (shared / "tiny_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "tiny_run" / "config.json").exists():
            _train_tiny(shared / "tiny_run")
    return shared / "tiny_run"


def _train_tiny(folder: Path) -> None:
    from mrigen.each import one_by_one
    from mrigen.labels import all_cells
    from mrigen.stages.encode import encode_run
    from mrigen.storage import Location
    from mrigen.training.accelerator import make_accelerator
    from mrigen.training.ldm import train_denoiser
    from mrigen.training.vae import train_autoencoder
    from tests.fake_run import tiny_config, write_data

    run = Location.parse(folder)
    config = tiny_config("held_out_cells=[Sclerosis:PD]")
    write_data(folder, all_cells(), {"train": 2, "val": 1, "test": 2})
    accelerator = make_accelerator(config)
    train_autoencoder(config, run, accelerator, lambda step, values: None)
    encode_run(run, config, one_by_one)
    train_denoiser(config, run, accelerator, lambda step, values: None)
    (run / "config.json").write_json(config.model_dump(mode="json"))
