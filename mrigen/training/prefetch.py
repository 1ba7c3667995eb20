"""Batches that are prepared while the step before them computes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

AHEAD = 2
"""Batches that wait, ready or in the making, while one is computed on."""

Batch = TypeVar("Batch")


def prefetched(prepare: Callable[[int], Batch], steps: Iterable[int]) -> Iterator[tuple[int, Batch, float]]:
    """Yield (step, prepare(step), seconds that it was waited for) of every step in turn; what `prepare` raises is
    raised here.

    It runs in one thread of its own, up to `AHEAD` steps in advance.
    """
    waiting: deque[tuple[int, Future[Batch]]] = deque()

    def first() -> tuple[int, Batch, float]:
        step, batch = waiting.popleft()
        began = time.monotonic()
        return step, batch.result(), time.monotonic() - began

    with ThreadPoolExecutor(1, "mrigen-prefetch") as thread:
        try:
            for step in steps:
                waiting.append((step, thread.submit(prepare, step)))
                if len(waiting) > AHEAD:
                    yield first()
            while waiting:
                yield first()
        finally:
            thread.shutdown(cancel_futures=True)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on `device`; to a GPU from pinned memory, so that nobody waits for the copy."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
