"""Requests that trickle in: `serve.batch` against `jobs.serve.batching.Batcher`.

    python docs/benchmarks/serve_batching.py

64 requests of one sample come 25 ms apart. A batch of up to 8 takes eight steps and 0.2 s whatever it holds, as a
padded compute batch does. Prints how many batches each needed, and how long a request took from its sending to its
answer.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from ray import serve

from jobs.placement import connect
from jobs.serve.batching import Batcher

NUM_REQUESTS, INTERVAL_S, BATCH, NUM_STEPS, COMPUTE_S = 64, 0.025, 8, 8, 0.2


class _Counted:
    num_batches = 0

    async def counts(self) -> int:
        return self.num_batches


@serve.deployment(max_ongoing_requests=100)
class WithServeBatch(_Counted):
    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.005, max_concurrent_batches=1)
    async def __call__(self, items: list[int]) -> list[int]:
        self.num_batches += 1
        await asyncio.sleep(COMPUTE_S)
        return items


@serve.deployment(max_ongoing_requests=100)
class WithBatcher(_Counted):
    def __init__(self) -> None:
        self._batcher: Batcher[int, int] = Batcher(self._compute, kind=lambda item: 0, size=lambda item: BATCH)

    def _compute(self, items: list[int], go_on: Callable[[], None]) -> list[int]:
        for _ in range(NUM_STEPS):
            go_on()
            time.sleep(COMPUTE_S / NUM_STEPS)
        self.num_batches += 1
        return items

    async def __call__(self, item: int) -> int:
        return (await self._batcher.submit([item]))[0]


async def measure(handle: Any) -> tuple[int, list[float]]:
    async def ask(number: int) -> float:
        await asyncio.sleep(number * INTERVAL_S)
        started = time.monotonic()
        await handle.remote(number)
        return time.monotonic() - started

    seconds = await asyncio.gather(*map(ask, range(NUM_REQUESTS)))
    return await handle.counts.remote(), seconds


def main() -> None:
    connect()
    for deployment in (WithServeBatch, WithBatcher):
        handle = serve.run(deployment.bind(), name="benchmark", route_prefix=None)
        num_batches, seconds = asyncio.run(measure(handle))
        print(
            f"{deployment.name}: {num_batches} batches; {statistics.median(seconds):.2f} s a request in the middle, "
            f"{max(seconds):.2f} s at most"
        )
        serve.delete("benchmark")


if __name__ == "__main__":
    main()
