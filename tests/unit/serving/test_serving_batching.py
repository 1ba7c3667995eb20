"""Batches across callers: full ones, fair ones, and what becomes of errors and of callers that leave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.serve.batching import EARLY, Batcher


@dataclass
class Worker:
    """Doubles numbers; notes its batches, and waits in each, too late for it to begin anew, until it is let go."""

    batches: list[list[int]] = field(default_factory=list)
    finished: list[list[int]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)

    def __call__(self, items: list[int], go_on: Callable[[], None]) -> list[int]:
        self.batches.append(items)
        self.threads.add(threading.get_ident())
        for _ in range(EARLY):
            go_on()
        self.started.set()
        assert self.gate.wait(10)
        go_on()
        self.finished.append(items)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [2 * item for item in items]


def batcher_of(worker: Callable[[list[int], Callable[[], None]], list[int]], size: int = 4) -> Batcher[int, int]:
    return Batcher(worker, kind=lambda item: item >= 100, size=lambda item: size)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), 10)

    asyncio.run(limited())


async def begun(worker: Worker) -> None:
    await asyncio.to_thread(worker.started.wait, 10)


def test_requests_that_come_together_share_batches() -> None:
    async def scenario() -> None:
        worker = Worker()
        worker.gate.set()
        batcher = batcher_of(worker, 8)
        results = await asyncio.gather(*(batcher.submit([k]) for k in range(20)))
        assert results == [[2 * k] for k in range(20)]
        assert [len(batch) for batch in worker.batches] == [8, 8, 4]
        assert len(worker.threads) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("first", "steps_before", "others", "batches"),
    [
        pytest.param([0], 0, [[1], [2]], [[0], [0, 1, 2]], id="before its first step"),
        pytest.param([0], 1, [[1]], [[0], [0, 1]], id="before its second step"),
        pytest.param([0], 2, [[1], [2]], [[0], [1, 2]], id="too late"),
        pytest.param([0, 1], 1, [[2]], [[0, 1], [2]], id="too few"),
        pytest.param([0, 1, 2], 1, [[3, 4]], [[0, 1, 2], [3, 4]], id="no room for as many"),
        pytest.param([0], 1, [[100, 101], [1]], [[0], [0, 1], [100, 101]], id="of another kind"),
        pytest.param([0], 1, [[1, 2, 3, 4]], [[0], [0, 1, 2, 3], [4]], id="more than fit"),
    ],
)
def test_a_batch_that_has_hardly_begun_begins_anew_with_those_who_came(
    first: list[int], steps_before: int, others: list[list[int]], batches: list[list[int]]
) -> None:
    async def scenario() -> None:
        computed: list[list[int]] = []
        reached, gate = threading.Event(), threading.Event()

        def compute(items: list[int], go_on: Callable[[], None]) -> list[int]:
            computed.append(list(items))
            for step in range(4):
                if step == steps_before:
                    reached.set()
                    assert gate.wait(10)
                go_on()
            return [2 * item for item in items]

        batcher = batcher_of(compute)
        tasks = [asyncio.create_task(batcher.submit(first))]
        await asyncio.to_thread(reached.wait, 10)
        tasks.extend(asyncio.create_task(batcher.submit(other)) for other in others)
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*tasks) == [[2 * item for item in asked] for asked in (first, *others)]
        assert computed == batches
        assert batcher.num_items == sum(map(len, (first, *others)))

    run(scenario)


def test_what_trickles_in_while_a_batch_is_computed_shares_the_next() -> None:
    async def scenario() -> None:
        worker = Worker()
        batcher = batcher_of(worker, 8)
        tasks = [asyncio.create_task(batcher.submit([0]))]
        await begun(worker)
        for k in range(1, 9):
            tasks.append(asyncio.create_task(batcher.submit([k])))
            await asyncio.sleep(0.005)
        worker.gate.set()
        await asyncio.gather(*tasks)
        assert worker.batches == [[0], list(range(1, 9))]

    run(scenario)


def test_one_sample_does_not_wait_for_all_of_a_large_request() -> None:
    async def scenario() -> None:
        worker = Worker()
        batcher = batcher_of(worker)
        large = asyncio.create_task(batcher.submit(list(range(40))))
        await begun(worker)
        small = asyncio.create_task(batcher.submit([99]))
        await asyncio.sleep(0.01)
        worker.gate.set()
        await asyncio.gather(large, small)
        position = next(k for k, batch in enumerate(worker.batches) if 99 in batch)
        assert position <= 2
        assert len(worker.batches) == 11

    run(scenario)


def test_a_stream_of_small_requests_does_not_hold_up_a_large_one() -> None:
    async def scenario() -> None:
        arriving: list[asyncio.Task[list[int]]] = []
        loop = asyncio.get_running_loop()
        batches: list[list[int]] = []

        def compute(items: list[int], go_on: Callable[[], None]) -> list[int]:
            async def more() -> None:
                if len(batches) < 30:  # a full batch of newcomers for every batch that is computed
                    arriving.extend(asyncio.create_task(batcher.submit([50])) for _ in range(4))
                    await asyncio.sleep(0)

            batches.append(items)
            asyncio.run_coroutine_threadsafe(more(), loop).result(10)
            return items

        batcher = batcher_of(compute)
        assert await batcher.submit([0, 1, 2, 3] * 4) == [0, 1, 2, 3] * 4
        positions = [k for k, batch in enumerate(batches) if 0 in batch]
        assert len(positions) == 4
        assert positions[-1] < 16
        while not all(task.done() for task in arriving):
            await asyncio.gather(*arriving)

    run(scenario)


def long_or_short(ended: list[int]) -> tuple[Batcher[int, int], threading.Event, threading.Event]:
    """A batcher whose items take as many steps as they count, and are noted as they end; whether it has begun one, and
    what lets it go on."""
    begun, gate = threading.Event(), threading.Event()

    def compute(items: list[int], go_on: Callable[[], None]) -> list[int]:
        begun.set()
        assert gate.wait(10)
        for _ in range(items[0]):
            go_on()
            time.sleep(0.001)
        ended.append(items[0])
        return items

    batcher = Batcher(compute, kind=lambda item: item, size=lambda item: 4, cost=float, slice_s=0.0)
    return batcher, begun, gate


def test_a_long_batch_gives_way_to_short_ones_between_its_steps() -> None:
    async def scenario() -> None:
        ended: list[int] = []
        batcher, begun, gate = long_or_short(ended)
        long = asyncio.create_task(batcher.submit([100]))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(batcher.submit([cost])) for cost in (50, 10, 101, 5)]
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(long, *others)
        assert ended == [10, 5, 100, 50, 101]  # 50 is not so much shorter that 100 would wait for it
        assert batcher.num_batches == 5

    run(scenario)


def test_who_gives_way_has_at_least_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 0, 100: 0}
    monkeypatch.setattr("jobs.serve.batching.monotonic", lambda: sum(seconds.values()))

    async def scenario() -> None:
        shorts: list[asyncio.Task[list[int]]] = []
        loop = asyncio.get_running_loop()

        def compute(items: list[int], go_on: Callable[[], None]) -> list[int]:
            for _ in range(items[0]):
                if items[0] == 100:  # there is always a short one in line
                    loop.call_soon_threadsafe(lambda: shorts.append(loop.create_task(batcher.submit([1]))))
                go_on()
                seconds[items[0]] += 1 if items[0] == 100 else 10
            if items[0] == 100:
                assert seconds == {1: 100, 100: 100}
            return items

        batcher = Batcher(compute, kind=lambda item: item, size=lambda item: 1, cost=float, slice_s=5.0)
        await batcher.submit([100])
        await asyncio.gather(*shorts)

    run(scenario)


def test_kinds_do_not_mix_and_neither_starves() -> None:
    async def scenario() -> None:
        worker = Worker()
        batcher = batcher_of(worker)
        tasks = [asyncio.create_task(batcher.submit(list(range(12))))]
        await begun(worker)
        tasks.append(asyncio.create_task(batcher.submit(list(range(100, 110)))))
        tasks.extend(asyncio.create_task(batcher.submit([k])) for k in (20, 120, 21, 121))
        await asyncio.sleep(0.01)
        worker.gate.set()
        await asyncio.gather(*tasks)
        assert all(len({item >= 100 for item in batch}) == 1 for batch in worker.batches)
        assert [100 in batch for batch in worker.batches[:3]].count(True) == 1
        assert len(worker.batches) <= 8

    run(scenario)


def test_an_error_stops_the_rest_of_its_request() -> None:
    async def scenario() -> None:
        worker = Worker()
        worker.gate.set()
        batcher = batcher_of(worker)
        with pytest.raises(ValueError, match="negative"):
            await batcher.submit([-1] * 4 + [1] * 40)
        assert await batcher.submit([7]) == [14]
        assert len(worker.batches) <= 3

    run(scenario)


def test_an_error_reaches_those_of_its_batch_alone() -> None:
    async def scenario() -> None:
        worker = Worker()
        worker.gate.set()
        batcher = batcher_of(worker)
        bad = asyncio.create_task(batcher.submit([-1, 1, 2, 3]))
        await asyncio.sleep(0)
        good = asyncio.create_task(batcher.submit([5]))
        with pytest.raises(ValueError, match="negative"):
            await bad
        assert await good == [10]
        assert batcher.alive

    run(scenario)


def test_too_few_results_are_an_error_and_not_a_wait_without_end() -> None:
    async def scenario() -> None:
        batcher = batcher_of(lambda items, go_on: items[:-1])
        with pytest.raises(ValueError, match="shorter"):
            await batcher.submit([1, 2])

    run(scenario)


def test_who_leaves_is_not_computed() -> None:
    async def scenario() -> None:
        worker = Worker()
        batcher = batcher_of(worker)
        leaving = asyncio.create_task(batcher.submit(list(range(40))))
        await begun(worker)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        worker.gate.set()
        assert await batcher.submit([7]) == [14]
        assert worker.batches == [[0, 1, 2, 3], [7]]
        assert worker.finished == [[7]]  # the batch of who left ended at its next step

    run(scenario)


def test_a_batch_goes_on_for_those_who_stay() -> None:
    async def scenario() -> None:
        worker = Worker()
        batcher = batcher_of(worker)
        leaving, staying = (asyncio.create_task(batcher.submit([k])) for k in (1, 2))
        await begun(worker)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        worker.gate.set()
        assert await staying == [4]
        assert worker.batches == [[1, 2]]

    run(scenario)


@settings(max_examples=50, deadline=None)
@given(calls=st.lists(st.lists(st.integers(0, 200), max_size=9), max_size=12), size=st.integers(1, 5))
def test_everyone_gets_their_own_results_in_order(calls: list[list[int]], size: int) -> None:
    async def scenario() -> None:
        worker = Worker()
        worker.gate.set()
        batcher = batcher_of(worker, size)
        assert await asyncio.gather(*map(batcher.submit, calls)) == [[2 * item for item in call] for call in calls]
        assert all(len(batch) <= size for batch in worker.batches)
        assert sum(map(len, worker.finished)) == sum(map(len, calls))

    run(scenario)
