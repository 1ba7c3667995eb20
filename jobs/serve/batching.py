"""Fills compute batches with the items of many callers, in fair turns.

The networks cost as much for one sample as for a whole compute batch, so what comes while a batch is being computed
is gathered into the next one. (`serve.batch` closes its batches while the last is still being computed, so that
requests which trickle in are computed almost one by one: docs/decisions/0007.)
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from time import monotonic
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")
Run = Callable[[list[Item], Callable[[], None]], Sequence[Result]]
Waiting = tuple[Item, asyncio.Future[Result]]
Batch = list[Waiting[Item, Result]]

SHORTER = 0.25
"""A batch gives way to those that cost less than this share of it."""
EARLY = 2
"""Before so many of its first steps a batch may still begin anew with more items."""
LOOP_TIMEOUT_S = 60.0
"""An event loop that does not answer for so long has gone."""


class AllLeft(Exception):
    """Nobody waits for the batch that is being computed any longer."""


class _Anew(Exception):
    """Others came who fit into the batch that is being computed, which has hardly begun."""


class Batcher(Generic[Item, Result]):
    """Calls `run` in one thread, with up to `size(item)` items whose `kind` is equal, and with what it must call
    before each of its steps: that raises `AllLeft` once all who asked for the batch have left.

    Nothing waits for others: a batch begins at once, and begins anew where before its first or second step so many
    others have come that it holds twice as many.

    Callers take turns: who had items in a batch, and has more of them, stands behind all others for the next. So one
    item does not wait for all of a large request, and no stream of small requests holds up a large one.

    A batch that takes longer than `slice_s` gives way, between two of its steps, to one that costs a fraction of it. It
    has at least half of the time.
    """

    def __init__(
        self,
        run: Run[Item, Result],
        *,
        kind: Callable[[Item], Hashable],
        size: Callable[[Item], int],
        cost: Callable[[Item], float] = lambda item: 1.0,
        slice_s: float = 1.0,
    ) -> None:
        self._run, self._kind, self._size, self._cost = run, kind, size, cost
        self._slice_s = slice_s
        self._callers: list[deque[Waiting[Item, Result]]] = []
        self._awake = asyncio.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._worker: asyncio.Task[None] | None = None
        self.num_batches = self.num_items = 0

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """The results of `items`, in their order. Cancelling drops those whose batch has not begun, and ends a batch
        that nobody else waits for at its next step."""
        if not items:
            return []
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
        loop = asyncio.get_running_loop()
        while True:
            await self._awake.wait()
            self._awake.clear()
            while batch := self._take():
                await loop.run_in_executor(self._executor, self._compute, batch, loop)

    def _compute(self, batch: Batch[Item, Result], loop: asyncio.AbstractEventLoop, *, within: bool = False) -> None:
        """Compute a batch in the thread, `within` the time of another or in its own, and answer who wait for it."""
        began, slice_s, num_steps = monotonic(), self._slice_s, 0
        below = SHORTER * min(self._cost(item) for item, _ in batch)

        def go_on() -> None:
            nonlocal began, slice_s, num_steps
            if all(future.done() for _, future in batch):
                raise AllLeft
            if within:
                return
            num_steps += 1
            if num_steps <= EARLY and self._callers and from_loop(self._join(batch)):
                raise _Anew
            if monotonic() >= began + slice_s:
                paused = monotonic()
                if shorter := from_loop(self._next(below)):
                    self._compute(shorter, loop, within=True)
                began = monotonic()
                slice_s = max(self._slice_s, began - paused)

        def from_loop(asked: Coroutine[Any, Any, Value]) -> Value:
            return asyncio.run_coroutine_threadsafe(asked, loop).result(LOOP_TIMEOUT_S)

        try:
            results = list(zip(batch, self._run([item for item, _ in batch], go_on), strict=True))
        except _Anew:
            self._compute(batch, loop)
        except Exception as error:
            loop.call_soon_threadsafe(_fail, batch, error)
        else:
            loop.call_soon_threadsafe(_answer, results)

    async def _next(self, below: float) -> Batch[Item, Result]:
        return self._take(below)

    async def _join(self, batch: Batch[Item, Result]) -> bool:
        """Add to a batch what waits and fits, if that is as much as it holds, and tell whether it was."""
        self._forget()
        first = batch[0][0]
        kind, room = self._kind(first), self._size(first) - len(batch)
        fitting = sum(
            1 for caller in self._callers for _ in takewhile(lambda waiting: self._kind(waiting[0]) == kind, caller)
        )
        if min(fitting, room) < len(batch):
            return False
        self._fill(batch, first)
        return True

    def _take(self, below: float = math.inf) -> Batch[Item, Result]:
        """The next batch: the items of who is first in line, of those whose next costs less than `below`, and of others
        behind that fit with them."""
        self._forget()
        first = next((caller[0][0] for caller in self._callers if self._cost(caller[0][0]) < below), None)
        batch: Batch[Item, Result] = []
        if first is not None:
            self._fill(batch, first)
            self.num_batches += 1
        return batch

    def _forget(self) -> None:
        """Strike those who have left from the line: all their futures are cancelled."""
        for caller in self._callers:
            while caller and caller[0][1].done():
                caller.popleft()
        self._callers = [caller for caller in self._callers if caller]

    def _fill(self, batch: Batch[Item, Result], first: Item) -> None:
        """Add to a batch what waits and goes with its first item; who gave something stands last in line."""
        kind, size, began_with = self._kind(first), self._size(first), len(batch)
        passed_over: list[deque[Waiting[Item, Result]]] = []
        served: list[deque[Waiting[Item, Result]]] = []
        for caller in self._callers:
            before = len(batch)
            while caller and len(batch) < size and self._kind(caller[0][0]) == kind:
                batch.append(caller.popleft())
            (served if len(batch) > before else passed_over).append(caller)
        self._callers = passed_over + served
        self.num_items += len(batch) - began_with


def _answer(results: Sequence[tuple[Waiting[Item, Result], Result]]) -> None:
    for (_, future), result in results:
        if not future.done():
            future.set_result(result)


def _fail(batch: Batch[Item, Result], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
