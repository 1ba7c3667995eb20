"""The first round of work of every verb that asks the judge: train it, once for all workers, on Ray Data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jobs.placement import Placement
from mrigen.config import Config
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.metrics.classifier import Trained
    from mrigen.metrics.classifier_store import JudgePlan


def train_judge(plan: JudgePlan, config: Config, folder: Location, placement: Placement) -> Trained:
    """The judge of `plan`, which stands in `folder` afterwards. Needs a connected cluster."""
    from jobs.tasks import run_tasks
    from mrigen.metrics.classifier_store import find_or_train

    make_work = functools.partial(_make_work, plan, config, folder, placement.device)
    for _ in run_tasks(make_work, [{"index": 0}], placement, "train the judge", shared=False):
        pass
    return find_or_train(plan, config, folder, placement.device)


def _make_work(
    plan: JudgePlan, config: Config, folder: Location, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    import torch

    from mrigen.metrics.classifier_store import find_or_train

    if device == "cpu":
        torch.set_num_threads(1)  # else the last bits would depend on the number of workers

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        find_or_train(plan, config, folder, device)
        return dict(task)

    return work
