"""Faults of tasks on Ray come to the driver as what they are."""

from __future__ import annotations

from typing import Any

import pytest
from jobs.tasks import Task, Work, run_tasks

from jobs.placement import Placement
from mrigen.errors import InputError

pytestmark = pytest.mark.ray


def failing(error: Exception | None, *, at_start: bool = False) -> Any:
    def make_work() -> Work:
        def work(task: Task) -> Task:
            if error is not None and task["index"] == 1:
                raise error
            return {"index": task["index"]}

        if error is not None and at_start:
            raise error
        return work

    return make_work


def run(make_work: Any, *, shared: bool) -> set[int]:
    tasks = [{"index": index} for index in range(3)]
    return {row["index"] for row in run_tasks(make_work, tasks, Placement(2), "test", shared=shared)}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize("error", [InputError("part-00000.parquet is damaged"), OSError(28, "No space left", "/x")])
def test_a_fault_is_raised_as_it_was(ray_cluster: None, error: Exception, *, shared: bool, at_start: bool) -> None:
    with pytest.raises(type(error)) as found:
        run(failing(error, at_start=at_start), shared=shared)
    assert (type(found.value), str(found.value)) == (type(error), str(error))


@pytest.mark.parametrize("shared", [True, False])
def test_without_a_fault_every_result_comes(ray_cluster: None, *, shared: bool) -> None:
    assert run(failing(None), shared=shared) == {0, 1, 2}
