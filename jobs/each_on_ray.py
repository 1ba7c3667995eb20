"""The library's seam to Ray: an `Each` whose work is done by Ray Data, its results streamed back to the driver."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
import ray
from ray import cloudpickle
from ray.experimental import internal_kv

from jobs.placement import Placement, connect
from jobs.progress import ProgressLine
from mrigen.each import Tally
from mrigen.errors import InputError, Stopped
from mrigen.process.stopping import StopSignals
from mrigen.process.threads import one_thread

REPORTED = (InputError, OSError)
MAX_BLOCKS = 1024

Row = dict[str, Any]


class Worker:
    """An actor of Ray Data: loads once what its work shares, then does one item after another.

    What the user or the machine is at fault for (`REPORTED`) is part of a result, not an exception: Ray Data wraps an
    exception of a worker in one of its own, which holds the first as text only.
    """

    def __init__(self, work: Callable[..., Any], load: Callable[[], Any] | None, stop_key: bytes) -> None:
        self._work, self._load, self._stop_key = work, load, stop_key
        self._shared: tuple[Any, ...] = ()

    def __call__(self, row: Row) -> Iterator[Row]:
        """`place, items` -> `place, result` of each, or `place, fault` of the first that has one; items, result and
        fault are pickled. Nothing more once the driver asks to stop."""
        for place, item in enumerate(cloudpickle.loads(row["items"]), start=row["place"]):
            if internal_kv._internal_kv_exists(self._stop_key):
                return
            try:
                with one_thread():
                    if self._load is not None and not self._shared:
                        self._shared = (self._load(),)
                    result = self._work(*self._shared, item)
                yield {"place": place, "result": cloudpickle.dumps(result), "fault": None}
            except REPORTED as error:
                yield {"place": place, "result": None, "fault": cloudpickle.dumps(error)}
                return


def _work_once(row: Row, work: Callable[..., Any], stop_key: bytes) -> Iterator[Row]:
    return Worker(work, None, stop_key)(row)


def _as_they_come(results: ray.data.Dataset) -> Iterator[Row]:
    """The rows of a data set, each as soon as it is there; `iter_rows` waits for the next block before it gives one."""
    for block in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from block.to_pylist()


@contextlib.contextmanager
def _stoppable(key: bytes) -> Iterator[StopSignals]:
    """Within, SIGTERM and Ctrl-C have workers find `key` in Ray's store; gives what tells whether one came."""
    ended = threading.Event()

    def tell(stopped: StopSignals) -> None:  # in a thread: nothing of Ray can be called in the handler of a signal
        while not ended.wait(0.2):
            if stopped():
                internal_kv._internal_kv_put(key, b"")
                click.echo("stopping once the work in hand is done; another Ctrl-C leaves at once", err=True)
                return

    with StopSignals() as stopped:
        teller = threading.Thread(target=tell, args=(stopped,), daemon=True)
        teller.start()
        try:
            yield stopped
        finally:
            ended.set()
            teller.join()
            internal_kv._internal_kv_del(key)


@dataclass(frozen=True)
class EachOnRay:
    """`mrigen.each.Each` on a Ray cluster, with a progress line.

    It joins the cluster, or starts one, when the first work comes: bad input is told before.
    """

    placement: Placement

    @property
    def device(self) -> str:
        """`cuda` with `--use-gpu`."""
        return self.placement.device

    def on_cpu(self) -> EachOnRay:
        """As many workers, without their GPUs."""
        return EachOnRay(replace(self.placement, use_gpu=False))

    def __call__(
        self,
        work: Callable[..., Any],
        items: Sequence[Any],
        title: str,
        load: Callable[[], Any] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """As `Each` has it. Without `load` there are no actors: the work is done in processes that Ray has ready, which
        saves their start. An item whose worker dies is done again. After SIGTERM or Ctrl-C no item is begun; a
        second one is a KeyboardInterrupt."""
        if not items:
            return
        connect(self.placement)
        # A block is what Ray Data hands to a worker, and what it redoes when that dies. It has one item, unless there
        # are so many that keeping account of the blocks would weigh on the driver.
        step = -(-len(items) // max(MAX_BLOCKS, 16 * self.placement.num_workers))
        starts = range(0, len(items), step)
        tasks = [{"place": start, "items": cloudpickle.dumps(items[start : start + step])} for start in starts]
        dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks))
        size = min(self.placement.num_workers, len(tasks))
        least = min(self.placement.least_workers or size, size)
        cpus, gpus = (0, 1) if self.placement.use_gpu else (1, 0)
        stop_key = f"mrigen-stop-{uuid.uuid4().hex}".encode()
        if load is None:
            tasks_at_once, shared = ray.data.TaskPoolStrategy(size=size), {"work": work, "stop_key": stop_key}
            results = dataset.flat_map(
                _work_once, fn_kwargs=shared, compute=tasks_at_once, num_cpus=cpus, num_gpus=gpus
            )
        else:
            results = dataset.flat_map(
                Worker,
                fn_constructor_kwargs={"work": work, "load": load, "stop_key": stop_key},
                compute=ray.data.ActorPoolStrategy(min_size=least, max_size=size),
                num_cpus=cpus,
                num_gpus=gpus,
            )
        done, counts = 0, Counter[str]()
        total = len(items) if tally is None else tally.total
        with _stoppable(stop_key) as stopped, ProgressLine(title, total) as line:
            for row in _as_they_come(results):
                if row["fault"] is not None:
                    raise cloudpickle.loads(row["fault"])
                result = cloudpickle.loads(row["result"])
                more, others = (1, {}) if tally is None else tally.of(result)
                done += more
                counts.update(others)
                line.update(done, "  ".join(f"{count} {name}" for name, count in counts.items() if count))
                yield int(row["place"]), result
            if stopped():
                raise Stopped(f"{title}: stopped after {done} of {total}: the same command goes on from there")
