"""A generation that is killed at random, over and over, against one left alone: their bytes.

    python docs/benchmarks/generate_kills.py [--kills 20] [--seed 0] [--per-cell 10] [--s3] [--without-ray]

`mrigen generate` by the embedded model in two steps, as BIDS and WebDataset in shards of four samples, by two workers
of a Ray cluster on this machine. Each kill is a SIGKILL of the driver or of one worker, drawn evenly, up to a second
after a share of the shards stands that was drawn, too; a driver that was killed is started again at once by the same
command. `--without-ray` has the driver do all the work, and be killed each time; `--s3` writes to a server of moto.
Prints what was killed and when, and fails unless all files of the two are the same, the page left out, which tells the
command.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator

import psutil
import pyarrow.fs as pafs
from ray.cluster_utils import Cluster

from mrigen.storage import Location

COMMAND = "generate --num-steps 2 --redraws 0 --shard-size 4 --format bids,webdataset --num-workers 2"
MOST_DELAY_S = 1.0
FORKS = multiprocessing.get_context("forkserver")
Driver = multiprocessing.context.ForkServerProcess


@contextlib.contextmanager
def storage(on_s3: bool) -> Iterator[str]:
    """Path or URI to write below, with a place for the folder's name."""
    if not on_s3:
        with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
            yield f"{scratch}/{{}}"
        return
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    where = {"region": "us-east-1", "scheme": "http", "endpoint_override": f"{host}:{port}"}
    pafs.S3FileSystem(
        access_key="a", secret_key="b", allow_bucket_creation=True, request_timeout=60.0, **where
    ).create_dir("bucket")
    yield "s3://a:b@bucket/{}?" + "&".join(f"{name}={value}".replace(":", "%3A") for name, value in where.items())
    server.stop()


def generate(arguments: argparse.Namespace, out: str) -> None:
    """What a driver does."""
    import jobs.each_on_ray
    from jobs.cli import main
    from mrigen.each import one_by_one

    if arguments.without_ray:
        jobs.each_on_ray.EachOnRay = lambda placement: one_by_one
    with contextlib.redirect_stdout(io.StringIO()):
        main([*COMMAND.split(), "--per-cell", str(arguments.per_cell), "--out", out])


def started(arguments: argparse.Namespace, out: str) -> Driver:
    """A driver in a process of its own; it joins the cluster that RAY_ADDRESS names."""
    driver = FORKS.Process(target=generate, args=(arguments, out))
    driver.start()
    return driver


def require_done(driver: Driver) -> None:
    driver.join()
    if driver.exitcode:
        raise SystemExit(f"it ended by itself, with status {driver.exitcode}")


def workers() -> list[psutil.Process]:
    """The processes of the cluster's actors."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::MapWorker"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def strike(driver: Driver, victim: str, chance: random.Random) -> None:
    """SIGKILL to the driver or to one of its workers, once there is one."""
    while victim == "worker" and driver.is_alive():
        if found := workers():
            chance.choice(found).kill()
            return
        time.sleep(0.1)
    if not driver.is_alive():
        raise SystemExit(f"it ended by itself, with status {driver.exitcode}")
    driver.kill()
    driver.join()


def files(folder: Location) -> dict[str, str]:
    """SHA-256 of every file by its path, without the page, which tells the command."""
    found = folder.files()
    return {file.path.removeprefix(folder.path): file.sha256() for file in found if file.name != "index.html"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-cell", type=int, default=10)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_worker_niceness="0", RAY_enable_metrics_collection="0")
    if arguments.without_ray:
        FORKS.set_forkserver_preload(["jobs.showing", "mrigen.pipeline"])  # a start takes a second, not ten
    else:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
        os.environ["RAY_ADDRESS"] = cluster.address
    with storage(arguments.s3) as place:
        alone, disturbed = (Location.parse(place.format(name)) for name in ("alone", "disturbed"))
        began = time.monotonic()
        require_done(started(arguments, place.format("alone")))
        whole = len((alone / "manifest").files())
        print(f"undisturbed: {whole} shards in {time.monotonic() - began:.0f} s", flush=True)
        driver = started(arguments, place.format("disturbed"))
        for number, share in enumerate(sorted(chance.uniform(0.0, 0.9) for _ in range(arguments.kills)), start=1):
            while len((disturbed / "manifest").files()) < share * whole and driver.is_alive():
                time.sleep(0.1)
            time.sleep(chance.uniform(0.0, MOST_DELAY_S))
            victim = "driver" if arguments.without_ray else chance.choice(("driver", "worker"))
            strike(driver, victim, chance)
            made = len((disturbed / "manifest").files())
            print(f"kill {number}: {victim}, {made} of {whole} shards stand", flush=True)
            if victim == "driver":
                driver = started(arguments, place.format("disturbed"))
        require_done(driver)
        expected, found = files(alone), files(disturbed)
        differing = sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))
        print(f"{len(found)} files, of which {len(differing)} differ", *differing[:5])
        if disturbed.local:
            print(f"temporary files left over: {len(list(disturbed.local.rglob('.*.tmp')))}")
    if not arguments.without_ray:
        cluster.shutdown()
    raise SystemExit(bool(differing))


if __name__ == "__main__":
    main()
