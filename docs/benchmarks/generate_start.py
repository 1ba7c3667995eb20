"""From the call of `mrigen generate` to its first samples: where the time goes.

    python docs/benchmarks/generate_start.py [--rounds 3] [--beside CHECKOUT]

By one worker and by two of the embedded model, each a start of its own with a Ray of its own, that makes a shard of
eight samples a worker; of each step the least time of all rounds. `--beside` takes turns with another checkout of
mrigen, and gives the ratio. Other work on the machine lengthens every step: beside the time by the clock stands what
all processes that live then have computed.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import psutil

HERE = Path(__file__).parents[2]
STEPS = {
    "asked": "the driver: imports, the model's labels, the plan",
    "connected": "Ray",
    "begun": "Ray Data, and the process of a worker",
    "loaded": "the worker: imports, the model",
    "first": "eight samples, published",
}
"""What ends each step, and what it is."""


def mark(marks: Path, name: str) -> None:
    with marks.open("a") as file:
        file.write(f"{json.dumps([name, time.time()])}\n")


def noted(pickled: bytes, marks: Path) -> Any:
    """Load what a worker needs: unpickling imports it."""
    from ray import cloudpickle

    mark(marks, "begun")
    shared = cloudpickle.loads(pickled)()
    mark(marks, "loaded")
    return shared


def unpickled(pickled: bytes, *arguments: Any) -> Any:
    from ray import cloudpickle

    return cloudpickle.loads(pickled)(*arguments)


def start(workers: int, scratch: Path) -> None:
    """Be the driver, and leave marks."""
    from ray import cloudpickle

    import jobs.each_on_ray as seam
    from jobs.cli import main

    marks, connect, call = scratch / "marks", seam.connect, seam.EachOnRay.__call__

    def connected(placement: Any) -> None:
        mark(marks, "asked")
        connect(placement)
        mark(marks, "connected")

    def each(self: Any, work: Callable[..., Any], items: Any, title: str, load: Any, tally: Any) -> Iterator[Any]:
        loading = functools.partial(noted, cloudpickle.dumps(load), marks)
        working = functools.partial(unpickled, cloudpickle.dumps(work))
        for number, result in enumerate(call(self, working, items, title, loading, tally)):
            if not number:
                mark(marks, "first")
                process = psutil.Process()
                times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
                (scratch / "computed").write_text(str(sum(one.user + one.system for one in times)))
            yield result

    seam.connect, seam.EachOnRay.__call__ = connected, each
    cells = f"HC:T1={8 * workers}"
    main(["generate", "--cells", cells, "--shard-size", "8", "--redraws", "0", "--format", "parquet",
          "--num-workers", str(workers), "--out", str(scratch / "out")])  # fmt: skip


def measured(checkout: Path, workers: int) -> dict[str, float]:
    """Seconds that each step takes, and all, and what was computed."""
    with tempfile.TemporaryDirectory() as name:
        scratch, environment = Path(name), os.environ | {"PYTHONPATH": str(checkout), "RAY_ADDRESS": ""}
        before = began = time.time()
        command = [sys.executable, __file__, "--alone", str(workers), name]
        ended = subprocess.run(command, env=environment, cwd=name, capture_output=True, text=True)
        if ended.returncode:
            raise SystemExit(ended.stderr)
        found: dict[str, float] = {}
        first: dict[str, float] = {}
        for line in (scratch / "marks").read_text().splitlines():
            step, at = json.loads(line)
            first.setdefault(step, at)
        for step in STEPS:
            found[step], before = first[step] - before, first[step]
        return found | {"all": before - began, "computed": float((scratch / "computed").read_text())}


@click.command()
@click.option("--rounds", default=3)
@click.option("--beside", type=click.Path(exists=True, path_type=Path), help="Another checkout.")
@click.option("--alone", type=(int, click.Path(path_type=Path)), hidden=True)
def main(rounds: int, beside: Path | None, alone: tuple[int, Path] | None) -> None:
    if alone:
        start(*alone)
        return
    checkouts = [HERE] if beside is None else [beside.absolute(), HERE]
    for workers in (1, 2):
        found = [[measured(checkout, workers) for checkout in checkouts] for _ in range(rounds)]
        least = [{name: min(one[name] for one in of_one) for name in of_one[0]} for of_one in zip(*found, strict=True)]
        for checkout, told in zip(checkouts, least, strict=True):
            whole = f"{told.pop('all'):.1f} s, {told.pop('computed'):.1f} s computed in all"
            steps = "; ".join(f"{seconds:.1f} s {STEPS[name]}" for name, seconds in told.items())
            print(
                f"{workers} workers, {'this checkout' if checkout == HERE else checkout}: {whole}: {steps}", flush=True
            )
        if beside is not None:
            for name in ("all", "computed"):
                before, after = (min(both[place][name] for both in found) for place in (0, 1))
                print(f"{workers} workers, {name}: {after / before:.2f} times what it was", flush=True)


if __name__ == "__main__":
    main()
