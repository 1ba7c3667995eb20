"""Many independent tasks on Ray Data: each one call of a worker, its result streamed back to the driver."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
import torch
from ray import cloudpickle

from jobs.placement import Placement
from jobs.progress import ProgressLine
from mrigen.errors import InputError

Task = Mapping[str, Any]
Work = Callable[[Task], Mapping[str, Any]]

REPORTED = (InputError, OSError)
FAULT = "fault"
"""The only column of the result of a task that failed by one of `REPORTED`."""


class Worker:
    """An actor of Ray Data: makes its work function once, then calls it for every task that comes.

    What the user or the machine is at fault for (`REPORTED`) is the result of the task, not an exception: Ray Data
    wraps an exception of a worker in one of its own, which holds the first as text only.
    """

    def __init__(self, make_work: Callable[[], Work], num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._make_work = make_work
        self._work: Work | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A task -> its result; both are rows of plain values."""
        try:
            if self._work is None:
                self._work = self._make_work()
            return dict(self._work(row))
        except REPORTED as error:
            return {FAULT: cloudpickle.dumps(error)}


def call_once(row: dict[str, Any], make_work: Callable[[], Work], num_threads: int) -> dict[str, Any]:
    """A task -> its result, by a work function made for it alone."""
    return Worker(make_work, num_threads)(row)


def run_tasks(
    make_work: Callable[[], Work], tasks: Sequence[Task], placement: Placement, title: str, *, shared: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield the result of every task as it is done, in no fixed order, and show the progress.

    `make_work` is called once in each worker and loads what the tasks share. Where they share nothing, say
    `shared=False`: `make_work` is then called for each task, in processes that Ray has ready, which saves the
    start of workers. A task whose worker dies is called again, so work must be idempotent: publish files whole,
    under names that the task decides. Raises the first InputError or OSError of a task.
    """
    if not tasks:
        return
    # One block a task: a block is what Ray Data hands to a worker, and what it redoes when that dies.
    dataset = ray.data.from_items(list(tasks), override_num_blocks=len(tasks))
    arguments = {"make_work": make_work, "num_threads": placement.cpus_per_worker}
    size = min(placement.num_workers, len(tasks))
    resources = {
        "num_cpus": 0 if placement.use_gpu else placement.cpus_per_worker,
        "num_gpus": 1 if placement.use_gpu else 0,
    }
    if shared:
        pool = ray.data.ActorPoolStrategy(size=size)
        results = dataset.map(Worker, fn_constructor_kwargs=arguments, compute=pool, **resources)
    else:
        results = dataset.map(call_once, fn_kwargs=arguments, compute=ray.data.TaskPoolStrategy(size=size), **resources)
    with ProgressLine(title, len(tasks)) as line:
        for done, row in enumerate(results.iter_rows(), start=1):
            if FAULT in row:
                raise cloudpickle.loads(row[FAULT])
            line.update(done)
            yield row


def each_on_ray(
    placement: Placement,
) -> Callable[[Callable[[Any], Any], Sequence[Any], str], Iterator[tuple[int, Any]]]:
    """A function that does the same work on every item of a sequence, on Ray Data: yields (place, result), in no order.

    Work and items may be any Python values that pickle; work must be idempotent, as for `run_tasks`.
    """

    def each(work: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[tuple[int, Any]]:
        tasks = [{"place": place, "item": cloudpickle.dumps(item)} for place, item in enumerate(items)]
        make_work = functools.partial(_make_item_work, work)
        for row in run_tasks(make_work, tasks, placement, title, shared=False):
            yield int(row["place"]), cloudpickle.loads(row["result"])

    return each


def _make_item_work(work: Callable[[Any], Any]) -> Work:
    def on_task(task: Task) -> Mapping[str, Any]:
        return {"place": task["place"], "result": cloudpickle.dumps(work(cloudpickle.loads(task["item"])))}

    return on_task
