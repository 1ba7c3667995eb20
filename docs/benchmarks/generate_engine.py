"""The engine of `mrigen generate` alone: rows a second and the driver's memory, with a sampler that costs nothing.

    python docs/benchmarks/generate_engine.py [--workers 2] [--shard-size 64] [--without-making] 62500 125000 250000

Each number of samples is planned, made and closed by a process of its own, as Parquet alone with images of 8 x 8 zeros;
`--without-making` lays empty files in the place of the shards, and closes a BIDS data set. Prints the seconds, what
the driver holds when it begins, and the most that it held.
"""

from __future__ import annotations

import functools
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import psutil

from jobs.each_on_ray import EachOnRay
from jobs.placement import Placement, connect
from mrigen.cohort.closing import Rejections, close_cohort
from mrigen.cohort.order import Kind
from mrigen.cohort.plan import CohortPlan, write_plan
from mrigen.cohort.shard import ShardReport, make_shard, manifest_part
from mrigen.config import SamplerConfig
from mrigen.labels import all_cells
from mrigen.pipeline import Sample, SampleRequest
from mrigen.storage import Location

IMAGE = np.zeros((8, 8), np.float32)


class Stub:
    """What `make_shard` needs of a pipeline."""

    model = SimpleNamespace(image_limits={})

    def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        return [Sample(request, IMAGE, 0.0, True, "ab" * 32, np.eye(4)) for request in requests]


def fill(plan: CohortPlan, out: Location, stub: Stub, shard: int) -> ShardReport:
    return make_shard(stub, plan, shard, out)  # type: ignore[arg-type]


def run(count: int, workers: int, shard_size: int, making: bool, scratch: str) -> None:
    placement, cells = Placement(num_workers=workers), all_cells()
    out = Location.parse(Path(scratch) / str(count))
    if making:
        connect(placement)
    held = psutil.Process().memory_info().rss
    started = time.perf_counter()
    quotas = {Kind(cell): count // len(cells) for cell in cells}
    plan = CohortPlan("ab" * 32, 0, SamplerConfig(), formats=("parquet" if making else "bids",)).grown(
        quotas, shard_size
    )
    write_plan(plan, out)
    planned = time.perf_counter() - started
    if making:
        for _ in EachOnRay(placement)(functools.partial(fill, plan, out), range(plan.num_shards), "engine", Stub):
            pass
    else:
        (out.local / "manifest").mkdir()
        for shard in range(plan.num_shards):
            manifest_part(out, shard).local.touch()
    made = time.perf_counter() - started - planned
    close_cohort(plan, dict.fromkeys(cells, True), out, "axial", [], Rejections())
    closed = time.perf_counter() - started - planned - made
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{plan.num_samples} samples: planned in {planned:.2f} s, made in {made:.1f} s "
        f"({plan.num_samples / made:.0f} a second), closed in {closed:.2f} s; "
        f"driver {held / 1e6:.0f} MB, at most {most / 1e6:.0f} MB",
        flush=True,
    )


@click.command()
@click.argument("counts", type=int, nargs=-1)
@click.option("--workers", default=2)
@click.option("--shard-size", default=64)
@click.option("--without-making", is_flag=True)
def main(counts: Sequence[int], workers: int, shard_size: int, without_making: bool) -> None:
    for count in counts or (62_500, 125_000, 250_000):
        with tempfile.TemporaryDirectory() as scratch:
            process = multiprocessing.get_context("spawn").Process(
                target=run, args=(count, workers, shard_size, not without_making, scratch)
            )
            process.start()
            process.join()


if __name__ == "__main__":
    main()
