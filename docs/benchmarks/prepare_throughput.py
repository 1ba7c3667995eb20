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

SPACING_MM = 2.4


def write_cohort(folder: Path, subjects: int) -> None:
    from mrigen.phantom.tree import close_tree, open_tree, write_subject
    from mrigen.storage import Location

    tree = Location.parse(folder)
    open_tree(tree, subjects, 0, SPACING_MM)
    close_tree(tree, [write_subject(tree, index, 0, SPACING_MM) for index in range(subjects)])


def prepare(way: str, workers: int, cohort: str, run: str, result: str) -> None:
    """Prepare `cohort` into `run`, and write seconds and peak megabytes to the file `result`."""
    from mrigen.config import load_config
    from mrigen.run import stage_digest
    from mrigen.sources.options import Source
    from mrigen.stages import prepare as steps
    from mrigen.storage import Location

    each: steps.Each = steps.one_by_one
    if way == "ray":
        import ray
        from jobs.tasks import each_on_ray

        from jobs.placement import Placement, connect

        connect()
        ray.data.range(1).take(1)
        each = each_on_ray(Placement(workers))
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop))
    watcher.start()
    config = load_config("quick")
    start = time.perf_counter()
    found = steps.find_all([Source(Location.parse(cohort))])
    digest = stage_digest(config, "data")
    preparation = steps.prepare_run(Location.parse(run), found, config, digest, each, steps.ignore)
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    told = {"scans": len(found.scans), "images": preparation.num_images, "seconds": seconds, "peak_mb": peak[0] / 2**20}
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
