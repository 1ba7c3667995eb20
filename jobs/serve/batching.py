"""Fills compute batches with the items of many callers, in fair turns.

The networks cost as much for one sample as for a whole compute batch, so what comes while a batch is being computed
is gathered into the next one. (`serve.batch` closes its batches while the last is still being computed, so that
requests which trickle in are computed almost one by one: docs/decisions/0007.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[[list[Item], Callable[[], None]], Sequence[Result]]
Waiting = tuple[Item, "asyncio.Future[Result]"]


class AllLeft(Exception):
    """Nobody waits for the batch that is being computed any longer."""


class Batcher(Generic[Item, Result]):
    """Calls `run` in one thread, with up to `size(item)` items whose `kind` is equal, and with what it must call
    between its steps: that raises `AllLeft` once all who asked for the batch have left.

    Callers take turns: who had items in a batch, and has more of them, stands behind all others for the next. So one
    item does not wait for all of a large request, and no stream of small requests holds up a large one.
    """

    def __init__(
        self,
        run: Run[Item, Result],
        *,
        kind: Callable[[Item], Hashable],
        size: Callable[[Item], int],
        gather_s: float = 0.005,
    ) -> None:
        self._run, self._kind, self._size, self._gather_s = run, kind, size, gather_s
        self._callers: list[deque[Waiting[Item, Result]]] = []
        self._awake = asyncio.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._worker: asyncio.Task[None] | None = None
        self.num_batches = self.num_items = 0

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """The results of `items`, in their order. Cancelling drops those whose batch has not begun, and ends a batch
        that nobody else waits for at its next step."""
        loop = asyncio.get_running_loop()
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        waiting: deque[Waiting[Item, Result]] = deque((item, loop.create_future()) for item in items)
        futures = [future for _, future in waiting]
        self._callers.append(waiting)
        self._awake.set()
        try:
            return list(await asyncio.gather(*futures))
        finally:
            for future in futures:
                future.cancel()

    @property
    def alive(self) -> bool:
        """False once the task that forms batches has died, which is a fault of ours."""
        return self._worker is None or not self._worker.done()

    async def _work(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                self._awake.clear()
                await self._awake.wait()
                await asyncio.sleep(self._gather_s)  # requests that are sent together arrive together
                continue
            self.num_batches += 1
            self.num_items += len(batch)
            try:
                results = await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._run, [item for item, _ in batch], partial(_go_on, batch)
                )
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    def _take(self) -> list[Waiting[Item, Result]]:
        """The next batch: the items of who is first in line, and of others behind that fit with them."""
        for caller in self._callers:
            while caller and caller[0][1].done():  # the caller has left: all its futures are cancelled
                caller.popleft()
        self._callers = [caller for caller in self._callers if caller]
        if not self._callers:
            return []
        first = self._callers[0][0][0]
        kind, size = self._kind(first), self._size(first)
        batch: list[Waiting[Item, Result]] = []
        passed_over: list[deque[Waiting[Item, Result]]] = []
        served: list[deque[Waiting[Item, Result]]] = []
        for caller in self._callers:
            before = len(batch)
            while caller and len(batch) < size and self._kind(caller[0][0]) == kind:
                batch.append(caller.popleft())
            (served if len(batch) > before else passed_over).append(caller)
        self._callers = passed_over + served
        return batch


def _go_on(batch: Sequence[Waiting[Item, Result]]) -> None:
    if all(future.done() for _, future in batch):
        raise AllLeft
