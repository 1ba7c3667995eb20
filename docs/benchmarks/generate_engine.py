"""The engine of `mrigen generate` alone: rows a second and memory, with a sampler that costs nothing.

    python docs/benchmarks/generate_engine.py [--workers 2] [--shard-size 64] [--without-making] 62500 125000 250000

Each number of samples is planned, made, found whole again as by a second call, and closed by a process of its own, as
Parquet alone with images of 8 x 8 zeros; `--without-making` lays empty files in the place of the shards, plans anew
over them as a second call does, and closes a BIDS data set. After each it prints the seconds, what the driver held at
most until then, and the most that was in Ray's object store.
"""

from __future__ import annotations

import functools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import psutil
import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from jobs.each_on_ray import EachOnRay
from jobs.placement import Placement, connect
from mrigen.cohort.closing import Rejections, close_cohort
from mrigen.cohort.order import Kind
from mrigen.cohort.plan import CohortPlan, planned, write_plan
from mrigen.cohort.shard import ShardReport, make_shard, manifest_part, missing_shards
from mrigen.config import SamplerConfig
from mrigen.labels import all_cells
from mrigen.model_folder.facts import ModelFacts
from mrigen.samples import Sample, SampleRequest
from mrigen.storage import Location

IMAGE = np.zeros((8, 8), np.float32)


class Stub:
    """What `make_shard` needs of a pipeline."""

    model = SimpleNamespace(image_limits={})

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        return [Sample(request, IMAGE, 0.0, True, True, "ab" * 32, np.eye(4)) for request in requests]


def fill(plan: CohortPlan, out: Location, stub: Stub, shard: int) -> ShardReport:
    return make_shard(stub, plan, shard, out)  # type: ignore[arg-type]


def worked(plan: CohortPlan, out: Location, placement: Placement) -> int:
    """Have every shard made, or found whole; the most bytes that were in the object store, looked at each second."""
    most, looked = 0, time.monotonic()
    for _ in EachOnRay(placement)(functools.partial(fill, plan, out), range(plan.num_shards), "engine", Stub):
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            stored = get_memory_info_reply(get_state_from_address(ray.get_runtime_context().gcs_address)).store_stats
            most = max(most, stored.object_store_bytes_used)
    return most


def run(count: int, workers: int, shard_size: int, making: bool, out: Location) -> None:
    placement, cells = Placement(num_workers=workers), all_cells()
    if making:
        connect(placement)
    held = psutil.Process().memory_info().rss
    quotas = {Kind(cell): count // len(cells) for cell in cells}
    empty = CohortPlan("ab" * 32, 0, SamplerConfig(), formats=("parquet" if making else "bids",))
    started = time.perf_counter()
    print(f"{count} samples; driver {held / 1e6:.0f} MB", flush=True)

    def ended(what: str, stored: int = 0) -> None:
        nonlocal started
        seconds, most = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        in_store = f", object store {stored / 1e6:.1f} MB" if stored else ""
        told = f"{seconds:.2f} s, {count / seconds:.0f} a second; at most {most / 1e6:.0f} MB{in_store}"
        print(f"  {what}: {told}", flush=True)
        started = time.perf_counter()

    plan = planned(empty, quotas, shard_size, out)
    write_plan(plan, out)
    ended("planned")
    if making:
        ended("made", worked(plan, out, placement))
        ended("found again", worked(plan, out, placement))
    else:
        (out.local / "manifest").mkdir()
        for shard in range(plan.num_shards):
            manifest_part(out, shard).local.touch()
        ended("laid out")
        if missing_shards(planned(empty, quotas, shard_size, out), out):
            raise AssertionError
        ended("found again")
    close_cohort(plan, ModelFacts.load(None), out, Rejections())
    ended("closed")


@click.command()
@click.argument("counts", type=int, nargs=-1)
@click.option("--workers", default=2)
@click.option("--shard-size", default=64)
@click.option("--without-making", is_flag=True)
def main(counts: Sequence[int], workers: int, shard_size: int, without_making: bool) -> None:
    if len(counts) == 1:
        with tempfile.TemporaryDirectory() as scratch:
            run(counts[0], workers, shard_size, not without_making, Location.parse(Path(scratch)))
        return
    for count in counts or (62_500, 125_000, 250_000):
        settings = ["--workers", str(workers), "--shard-size", str(shard_size), *["--without-making"] * without_making]
        subprocess.run([sys.executable, __file__, str(count), *settings], check=True)


if __name__ == "__main__":
    main()
