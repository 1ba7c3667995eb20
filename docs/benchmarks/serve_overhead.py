"""What `mrigen serve` takes beside computing: one sample of one client, and 64 samples of 16 clients at once.

    python -m docs.benchmarks.serve_overhead [--rounds 5]

The embedded model with its own settings, here and behind HTTP in turns. One request of one sample: its time, without
what `/metrics` tell that its batch was computed for. 64 samples: the pipeline makes them in full batches here; there 16
clients ask for four each, at once or one after another. Prints medians with quartiles, and the number of batches.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import repeat

import httpx

from mrigen.labels import Cell
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest
from tests.ports import free_port

CLIENTS, EACH, CELL = 16, 4, Cell.parse("Glioblastoma:FLAIR")


@contextmanager
def served() -> Iterator[str]:
    """The address of `mrigen serve`, without its access log."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "jobs.cli", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                if httpx.get(f"{url}/v1/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                assert server.poll() is None
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def figure(url: str, name: str) -> float:
    """The sum of a figure of `/metrics` over its labels."""
    text = httpx.get(f"{url}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}\S* (\S+)$", text, re.MULTILINE))


def main(rounds: int) -> None:
    pipeline = Pipeline.load()
    requests = [SampleRequest(CELL, seed, pipeline.config.sampler) for seed in range(CLIENTS * EACH)]
    body = {"pathology": CELL.pathology, "modality": CELL.modality, "format": "npy"}
    found: dict[str, list[float]] = defaultdict(list)
    with served() as url, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [httpx.Client(base_url=url, timeout=600) for _ in range(CLIENTS)]

        def ask(client: httpx.Client, times: int, count: int) -> None:
            for seed in range(times):
                client.post("/v1/samples", json=body | {"seed": seed, "count": count}).raise_for_status()

        for number in range(rounds + 1):
            if number == 1:
                found.clear()  # the first was to warm up
            computed = figure(url, 'mrigen_stage_seconds_sum{stage="compute"}')
            through = seconds(lambda: ask(clients[0], 1, 1))
            computed = figure(url, 'mrigen_stage_seconds_sum{stage="compute"}') - computed
            found["one sample of one client, ms beside computing"].append(1000 * (through - computed))
            alone = seconds(lambda: pipeline.sample(requests))
            for times, count in ((1, EACH), (EACH, 1)):
                places = figure(url, "mrigen_batch_places_total")
                work = partial(pool.map, ask, clients, repeat(times), repeat(count))
                what = f"{CLIENTS} clients, {times} x {count} samples each"
                found[f"{what}, times the pipeline alone"].append(seconds(lambda work=work: list(work())) / alone)
                places = figure(url, "mrigen_batch_places_total") - places
                found[f"{what}, batches"].append(places / pipeline.config.sampler.compute_batch)
            print({what: round(values[-1], 3) for what, values in found.items()}, flush=True)
    for what, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{what}: {middle:.4g} ({low:.4g} to {high:.4g})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args().rounds)
