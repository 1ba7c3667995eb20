"""`mrigen prepare` on Ray against a plain loop of the same functions on one core: scans a second and peak memory.

    python docs/benchmarks/prepare_throughput.py [--subjects 20]

Each way prepares N and then 4N scans of the phantom cohort (five a subject) in a process of its own. Peak memory is the
largest sum of unique memory (USS) over the process and its children, sampled once a second; for Ray it includes
Ray's own processes. Ray's start is left out of the time, since a cluster stands already.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")

import psutil


def write_cohort(folder: Path, subjects: int) -> None:
    from mrigen.each import one_by_one
    from mrigen.stages.phantom import phantom_run
    from mrigen.storage import Location

    phantom_run(Location.parse(folder), one_by_one, subjects=subjects)


def prepare(way: str, workers: int, cohort: str, run: str, result: str) -> None:
    """Prepare `cohort` into `run`, and write seconds and peak megabytes to the file `result`."""
    from mrigen.config import load_config
    from mrigen.each import Each, one_by_one
    from mrigen.sources.options import Source
    from mrigen.sources.recognise import find_all_scans
    from mrigen.stages.prepare import prepare_run
    from mrigen.storage import Location

    each: Each = one_by_one
    if way == "ray":
        import ray

        from jobs.each_on_ray import EachOnRay
        from jobs.placement import Placement, connect

        connect()
        ray.data.range(1).take(1)
        each = EachOnRay(Placement(workers))
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop))
    watcher.start()
    config = load_config("quick")
    start = time.perf_counter()
    found = find_all_scans([Source(Location.parse(cohort))])
    prepared = prepare_run(Location.parse(run), config, found, each)
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    told = {"scans": len(found.scans), "images": prepared.num_images, "seconds": seconds, "peak_mb": peak[0] / 2**20}
    Path(result).write_text(json.dumps(told))


def watch(peak: list[int], stop: threading.Event) -> None:
    """Keep the largest memory of this process and its children in `peak[0]`."""
    me = psutil.Process()
    while not stop.wait(1.0):
        total = 0
        for process in [me, *me.children(recursive=True)]:
            try:
                total += process.memory_full_info().uss
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=20, help="N / 5")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print("| way | scans | seconds | scans/s | peak MB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        for subjects in (arguments.subjects, 4 * arguments.subjects):
            cohort = Path(scratch) / f"cohort-{subjects}"
            write_cohort(cohort, subjects)
            for way, workers in (("loop", 1), ("ray", 1), ("ray", arguments.workers)):
                run, result = Path(scratch) / f"{way}-{workers}-{subjects}", Path(scratch) / "result.json"
                process = spawn.Process(target=prepare, args=(way, workers, str(cohort), str(run), str(result)))
                process.start()
                process.join()
                told = json.loads(result.read_text())
                name = "plain loop" if way == "loop" else f"Ray, {workers} worker{'s' * (workers > 1)}"
                rate = told["scans"] / told["seconds"]
                print(f"| {name} | {told['scans']} | {told['seconds']:.1f} | {rate:.2f} | {told['peak_mb']:.0f} |")


if __name__ == "__main__":
    main()
