"""What `mrigen generate` on Ray costs beside a bare loop, with the embedded model, and how it grows with N and workers.

    python docs/benchmarks/generate_scaling.py [--samples 256] [--shard-size 32]

N samples by one worker, N, 2N and 4N by two, as Parquet; before and after, the same shards are made by a loop in one
process with one thread. Each is a process of its own. Given are the time until a worker has made its first shard, the
pace after that, and the most memory that the driver held; the bare loop tells which part it reaches of the multiplied
and added numbers a second that a product of float32 matrices of 2048 x 2048 has on that thread.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from mrigen.cohort.order import Kind
from mrigen.cohort.plan import CohortPlan, planned
from mrigen.cohort.shard import ShardReport, make_shard
from mrigen.each import one_by_one
from mrigen.pipeline import Pipeline
from mrigen.process.threads import one_thread
from mrigen.storage import Location


def fill(plan: CohortPlan, out: Location, pipeline: Pipeline, shard: int) -> ShardReport:
    return make_shard(pipeline, plan, shard, out)


def measured(count: int, workers: int, shard_size: int, out: Location) -> dict[str, float]:
    """By `workers` on Ray, or by none in a bare loop: seconds to the first shard, samples a second after it, MB."""
    began, pipeline, each = time.perf_counter(), Pipeline.load(), one_by_one
    cells = [cell for cell in pipeline.training_counts if pipeline.is_trained(cell)]
    quotas = {Kind(cell): -(-count // len(cells)) for cell in cells}
    empty = CohortPlan(pipeline.model_sha256, 0, pipeline.config.sampler, formats=("parquet",))
    plan = planned(empty, quotas, shard_size, out)
    if workers:
        from jobs.each_on_ray import EachOnRay
        from jobs.placement import Placement, connect

        connect(placement := Placement(num_workers=workers))
        each = EachOnRay(placement)
    made = []
    for _ in each(functools.partial(fill, plan, out), range(plan.num_shards), "scaling", Pipeline.load):
        made.append(time.perf_counter() - began)
    first = max(workers, 1)  # shards that are made before all workers are at work
    pace = (plan.num_samples - first * shard_size) / (made[-1] - made[first - 1])
    return {"first": made[0], "pace": pace, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def part_of_peak(pace: float) -> float:
    """Of the arithmetic of a thread what the pipeline does at that pace."""
    from mrigen.samples import SampleRequest

    pipeline = Pipeline.load()
    cell, size = next(iter(pipeline.training_counts)), pipeline.config.sampler.compute_batch
    with FlopCounterMode(display=False) as counter:
        pipeline.sample([SampleRequest(cell, seed, pipeline.config.sampler) for seed in range(size)])
    with one_thread():
        matrix, best = torch.randn(2048, 2048), float("inf")
        for _ in range(8):
            began = time.perf_counter()
            matrix @ matrix
            best = min(best, time.perf_counter() - began)
    return counter.get_total_flops() / size * pace / (2 * 2048**3 / best)


@click.command()
@click.option("--samples", default=256)
@click.option("--shard-size", default=32)
@click.option("--alone", type=(int, int), help="Measure one number, by so many workers.", hidden=True)
def main(samples: int, shard_size: int, alone: tuple[int, int] | None) -> None:
    if alone:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(measured(*alone, shard_size, Location.parse(Path(scratch)))))
        return

    def run(count: int, workers: int) -> dict[str, Any]:
        words = ["--shard-size", str(shard_size), "--alone", str(count), str(workers)]
        ended = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
        told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        print(f"{count} samples, {workers} workers: {told}", flush=True)
        return told

    before = run(samples, 0)
    one, *two = run(samples, 1), run(samples, 2), run(2 * samples, 2), run(4 * samples, 2)
    bare = (before["pace"] + run(samples, 0)["pace"]) / 2
    times = [count * samples / told["pace"] for count, told in zip((1, 2, 4), two, strict=True)]
    print(f"one worker on Ray over the bare loop: {bare / one['pace']:.3f} times the seconds a sample")
    print(f"two workers over one: {two[-1]['pace'] / one['pace']:.2f} times the samples")
    print(f"N to 2N and 2N to 4N: {times[1] / times[0]:.2f} and {times[2] / times[1]:.2f} times the seconds")
    print("driver:", ", ".join(f"{told['mb']:.0f} MB" for told in two))
    print(f"the bare loop does {part_of_peak(bare):.0%} of what a product of matrices does")


if __name__ == "__main__":
    main()
