"""Runs one of the library's training loops in Ray Train workers. The loop resumes by itself: from the run folder."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import torch
from accelerate import Accelerator
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from jobs.placement import Placement, connect
from jobs.progress import ProgressLine
from mrigen.config import Config, parse_config
from mrigen.errors import InputError
from mrigen.lease import leased
from mrigen.run import is_finished, store_config
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.fine_tuning import Stage, begun_from, bring
from mrigen.training.journal import Report

Loop = Callable[[Config, Location, Accelerator, Report], None]

MAX_FAILURES = 3
"""Times that a lost worker or node may cost a restart from the last checkpoint."""
POLL_S = 1.0


class ProgressBoard:
    """Where the first worker writes its progress and the driver reads it."""

    def __init__(self) -> None:
        self._last: tuple[int, dict[str, float]] = (0, {})

    def put(self, step: int, values: dict[str, float]) -> None:
        """Note the steps done and the last scalars."""
        self._last = (step, values)

    def get(self) -> tuple[int, dict[str, float]]:
        """What was noted last."""
        return self._last


def train(
    loop: Loop,
    stage: Stage,
    num_steps: int,
    config: Config,
    run: Location,
    placement: Placement,
    start: str | None = None,
) -> None:
    """Store the configuration, run `loop` on every worker of `placement` and show its progress, unless the stage that
    it makes is finished. The weights begin with those of the model `start`, as `begun_from` takes it.

    Raises InputError as the loop raised it, and before any worker starts if `stage` was begun under other settings or
    another driver works in `run`; a worker that dies is replaced and resumes.
    """
    with leased(run):
        if start is not None:
            config = begun_from(start, config, stage)
        finished = is_finished(run, config, stage)
        store_config(run, config)
        if not finished:
            if start is not None:
                bring(start, run / stage)
            _train(loop, stage, num_steps, config, run, placement)


def _train(loop: Loop, stage: Stage, num_steps: int, config: Config, run: Location, placement: Placement) -> None:
    connect(placement)
    board = ray.remote(num_cpus=0)(ProgressBoard).remote()
    scratch = run / ".ray_train"
    # A run name of its own each time: Ray's snapshot of a killed run may be half-written.
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "loop": loop,
            "config": config.model_dump(mode="json"),
            "run": run,
            "board": board,
            "num_threads": placement.cpus_per_worker,
            "device": placement.device,
        },
        scaling_config=ScalingConfig(
            num_workers=placement.num_workers,
            use_gpu=placement.use_gpu,
            resources_per_worker=placement.worker_resources,
        ),
        run_config=RunConfig(
            name=f"{loop.__name__}-{uuid.uuid4().hex[:12]}",
            storage_path=scratch.path,
            storage_filesystem=scratch.filesystem,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    with _shown(board, f"train-{stage}", num_steps):
        fault = trainer.fit().return_value
    scratch.delete()
    if fault is not None:
        raise InputError(fault)


def _worker(task: Mapping[str, Any]) -> str | None:
    """One worker: the loop, and its InputError as a return value, since Ray would retry an exception."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(task["num_threads"])
    config = parse_config(task["config"])
    accelerator = make_accelerator(config, task["device"])
    board = task["board"]

    def report(step: int, values: Mapping[str, float]) -> None:
        board.put.remote(step, dict(values))

    try:
        task["loop"](config, task["run"], accelerator, report)
    except InputError as error:
        return str(error)
    return None


@contextmanager
def _shown(board: Any, title: str, total: int) -> Iterator[None]:
    """Show what the board says until the body ends."""
    finished = threading.Event()
    with ProgressLine(title, total) as line:

        def show() -> None:
            step, values = ray.get(board.get.remote())
            line.update(step, "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

        def follow() -> None:
            while not finished.wait(POLL_S):
                show()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
            show()
