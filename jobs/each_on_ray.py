"""The library's seam to Ray: an `Each` whose work is done by Ray Data, its results streamed back to the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch
from ray import cloudpickle

from jobs.placement import Placement, connect
from jobs.progress import ProgressLine
from mrigen.errors import InputError

REPORTED = (InputError, OSError)
MAX_BLOCKS = 1024

Row = dict[str, Any]


class Worker:
    """An actor of Ray Data: loads once what its work shares, then does one item after another.

    What the user or the machine is at fault for (`REPORTED`) is part of a result, not an exception: Ray Data wraps an
    exception of a worker in one of its own, which holds the first as text only.
    """

    def __init__(self, work: Callable[..., Any], load: Callable[[], Any] | None) -> None:
        torch.set_num_threads(1)  # as `mrigen.each.Each` promises
        self._work, self._load = work, load
        self._shared: tuple[Any, ...] = ()

    def __call__(self, row: Row) -> Iterator[Row]:
        """`place, items` -> `place, result` of each, or `place, fault` of the first that has one; items, result and
        fault are pickled."""
        for place, item in enumerate(cloudpickle.loads(row["items"]), start=row["place"]):
            try:
                if self._load is not None and not self._shared:
                    self._shared = (self._load(),)
                result = self._work(*self._shared, item)
                yield {"place": place, "result": cloudpickle.dumps(result), "fault": None}
            except REPORTED as error:
                yield {"place": place, "result": None, "fault": cloudpickle.dumps(error)}
                return


def _work_once(row: Row, work: Callable[..., Any]) -> Iterator[Row]:
    return Worker(work, None)(row)


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
        self, work: Callable[..., Any], items: Sequence[Any], title: str, load: Callable[[], Any] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """As `Each` has it. Without `load` there are no actors: the work is done in processes that Ray has ready, which
        saves their start. An item whose worker dies is done again."""
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
        cpus, gpus = (0, 1) if self.placement.use_gpu else (1, 0)
        if load is None:
            tasks_at_once = ray.data.TaskPoolStrategy(size=size)
            results = dataset.flat_map(
                _work_once, fn_kwargs={"work": work}, compute=tasks_at_once, num_cpus=cpus, num_gpus=gpus
            )
        else:
            results = dataset.flat_map(
                Worker,
                fn_constructor_kwargs={"work": work, "load": load},
                compute=ray.data.ActorPoolStrategy(size=size),
                num_cpus=cpus,
                num_gpus=gpus,
            )
        with ProgressLine(title, len(items)) as line:
            for done, row in enumerate(results.iter_rows(), start=1):
                if row["fault"] is not None:
                    raise cloudpickle.loads(row["fault"])
                line.update(done)
                yield int(row["place"]), cloudpickle.loads(row["result"])
