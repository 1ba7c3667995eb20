"""Runs one of the library's training loops in Ray Train workers. The loop resumes by itself: from the run folder."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast

import click
import ray
import torch
from accelerate import Accelerator
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.placement import Placement, connect
from jobs.progress import ProgressLine
from mrigen.config import Config, parse_config
from mrigen.errors import InputError, Stopped
from mrigen.process.lease import leased
from mrigen.process.stopping import StopSignals
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.fine_tuning import TrainingStage, begin
from mrigen.training.journal import Report, Stop

Loop = Callable[[Config, Location, Accelerator, Report, Stop], None]
Told = tuple[int, dict[str, float], list[str], Exception | None]

MAX_FAILURES = 3
"""Times that a lost worker or node may cost a restart from the last checkpoint."""
POLL_S = 0.5
RESIZE_S = 60.0
"""After which a training of a range of workers looks whether there can be more: each time it starts them all anew."""
GRACE_S = 20.0
"""Within which the first worker writes a checkpoint when it is to stop; Kubernetes kills after 30."""


class Board:
    """An actor between the first worker, which tells how far it is, and the driver, which may ask it to stop."""

    def __init__(self) -> None:
        self._last: tuple[int, dict[str, float]] = (0, {})
        self._said: list[str] = []
        self._end: Exception | None = None
        self._stop = asyncio.Event()

    async def put(self, step: int, values: dict[str, float]) -> None:
        """Note the steps done and the last scalars."""
        self._last = (step, values)

    async def say(self, text: str) -> None:
        """Note what the user should see."""
        self._said.append(text)

    async def end(self, error: Exception) -> None:
        """Note what ended the training: the other workers may wait for the first for ever."""
        self._end = error

    async def get(self, seen: int) -> Told:
        """Steps done, last scalars, what was said after what was `seen`, and what ended the training."""
        return *self._last, self._said[seen:], self._end

    async def stop(self) -> None:
        """Ask the first worker to stop."""
        self._stop.set()

    async def stop_asked(self) -> None:
        """Returns once it is asked to stop."""
        await self._stop.wait()


def train(
    loop: Loop,
    stage: TrainingStage,
    num_steps: int,
    config: Config,
    run: Location,
    placement: Placement,
    start: str | None = None,
) -> None:
    """Run `loop` on every worker of `placement` and show its progress, unless the stage that it makes is finished.

    Raises InputError and OSError as the loop raised them; before any worker starts as `begin`, or InputError if another
    driver works in `run`; Stopped after SIGTERM or Ctrl-C. A worker that dies is
    replaced and resumes.
    """
    with leased(run):
        if (begun := begin(run, config, stage, start)) is not None:
            _train(loop, stage, num_steps, begun, run, placement)


def _train(
    loop: Loop, stage: TrainingStage, num_steps: int, config: Config, run: Location, placement: Placement
) -> None:
    connect(placement)
    cpus, most = placement.worker_cpus(), placement.num_workers
    # On the driver's node: what is lost with another one is made good by Ray Train.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=here).remote()
    scratch = run / ".ray_train"
    # A run name of its own each time: Ray's snapshot of a killed run may be half-written.
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "loop": loop,
            "config": config.model_dump(mode="json"),
            "run": run,
            "board": board,
            "num_threads": cpus,
            "device": placement.device,
        },
        scaling_config=ScalingConfig(
            num_workers=(placement.least_workers, most) if placement.least_workers else most,
            elastic_resize_monitor_interval_s=RESIZE_S,
            use_gpu=placement.use_gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if placement.use_gpu else {}),
        ),
        run_config=RunConfig(
            name=f"{loop.__name__}-{uuid.uuid4().hex[:12]}",
            storage_path=scratch.path,
            storage_filesystem=scratch.filesystem,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        with ProgressLine(f"train-{stage}", num_steps) as line:
            _follow(trainer, board, line)
    finally:
        scratch.delete()


def _worker(task: Mapping[str, Any]) -> None:
    """One worker: the loop. What it ends with is told to the board where Ray shall not try again."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(task["num_threads"])
    config = parse_config(task["config"])
    accelerator = make_accelerator(config, task["device"])
    board = task["board"]
    asked = board.stop_asked.remote()

    def report(step: int, values: Mapping[str, float]) -> None:
        board.put.remote(step, dict(values))

    def stop() -> bool:
        return bool(ray.wait([asked], timeout=0)[0])

    log = logging.getLogger("mrigen")
    log.setLevel(logging.INFO)
    log.addHandler(_ToBoard(board) if accelerator.is_main_process else logging.NullHandler())
    try:
        task["loop"](config, task["run"], accelerator, report, stop)
    except (InputError, OSError, Stopped) as error:
        ray.get(board.end.remote(error))


class _ToBoard(logging.Handler):
    """Has the driver show what a worker tells of itself, and its warnings."""

    def __init__(self, board: Any) -> None:
        super().__init__(logging.INFO)
        self._board = board

    def emit(self, record: logging.LogRecord) -> None:
        warning = "warning: " if record.levelno >= logging.WARNING else ""
        self._board.say.remote(warning + record.getMessage())


def _follow(trainer: TorchTrainer, board: Any, line: ProgressLine) -> None:
    """Train, and show on `line` what the board says; SIGTERM and Ctrl-C are handed to the first worker.

    Raises what it, or Ray Train, ended with; Ray is left if other workers do not end by themselves.
    """
    raised: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            raised.append(error)

    seen = 0

    def show() -> Exception | None:
        nonlocal seen
        step, values, said, end = cast(Told, ray.get(board.get.remote(seen)))
        line.update(step, "  ".join(f"{name} {value:.4g}" for name, value in values.items()))
        for text in said:
            click.echo(text, err=True)
        seen += len(said)
        return end

    fitting = threading.Thread(target=fit, daemon=True)
    end: Exception | None = None
    last_moment = math.inf
    with StopSignals() as stopped:
        fitting.start()
        while end is None and fitting.is_alive() and time.monotonic() < last_moment:
            fitting.join(POLL_S)
            if stopped() and last_moment == math.inf:
                board.stop.remote()
                last_moment = time.monotonic() + GRACE_S
            end = show()
        end = end or show()  # what came since
        if stopped() and end is None and fitting.is_alive():
            end = Stopped("stopped before a checkpoint was written: the same command goes on from the one before")
        if end is not None:
            fitting.join(POLL_S * 10)
            if fitting.is_alive():
                ray.shutdown()
    if end is not None or raised:
        raise end or raised[0]
