"""Where-settings: which cluster, how many workers, with or without GPUs; turned into Ray's arguments."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

import mrigen
from mrigen.errors import InputError

LOCAL_CPUS = 4
"""Logical CPUs of an embedded cluster on a smaller machine: Ray's libraries start helpers of one CPU
each, and on two they starve the workers that they wait for."""


def usable_cpus() -> int:
    """Cores that this process may use: fewer than the machine's where it was pinned, or its container has a limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, _container_cpus(Path("/sys/fs/cgroup")))))


def _container_cpus(cgroup: Path) -> float:
    """The CPU time that a container may take, in cores, by control groups of version 2 or 1; infinite without limit."""
    names = ("cpu.max",) if (cgroup / "cpu.max").exists() else ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    try:
        quota, period = " ".join((cgroup / name).read_text() for name in names).split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


@dataclass(frozen=True)
class Placement:
    """How many workers of which kind, on the cluster at `address`; without it at `RAY_ADDRESS`, else a local one."""

    num_workers: int = 1
    use_gpu: bool = False
    address: str | None = None

    @property
    def cluster(self) -> str | None:
        """The address of the cluster to join; None for a local one."""
        return self.address or os.environ.get("RAY_ADDRESS")

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The torch device of a worker."""
        return "cuda" if self.use_gpu else "cpu"

    @property
    def cpus_per_worker(self) -> int:
        """Cores, and torch threads, of a worker: an equal share of those that this process may use."""
        return 1 if self.use_gpu else max(1, usable_cpus() // self.num_workers)

    @property
    def worker_resources(self) -> dict[str, float]:
        """What a worker asks of Ray."""
        return {"CPU": float(self.cpus_per_worker)} | ({"GPU": 1.0} if self.use_gpu else {})


def connect(placement: Placement = Placement()) -> None:
    """Join the cluster that `placement` names, or start one on this machine; once a process.

    Raises InputError if no cluster answers there, or this machine has fewer GPUs than workers that need one. A cluster
    may grow by itself, so fewer there are waited for, with a note.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = placement.cluster
    if not address:
        # RAY_AUTH_MODE stays as it is: unset, Ray makes a token, since its ports listen on all interfaces.
        # Ray warns of every actor pool of Ray Data that its arguments could be lost with this machine.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # Ray's workers are 15 nicer than the driver, and starve where anything else computes.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Ray's figures of the machine would be served to all of its network, without the token.
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
    import ray

    if not ray.is_initialized():
        if address:
            try:
                ray.init(address=address, logging_level=logging.WARNING, runtime_env=_own_packages())
            except ConnectionError as error:
                raise InputError(f"no Ray cluster at {address!r}: {' '.join(str(error).split())[:200]}") from None
        else:
            ray.init(
                address="local",  # without it, a cluster of `ray start` on this machine would be joined
                num_cpus=max(LOCAL_CPUS, usable_cpus()),
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=False,
                runtime_env=_own_packages(),
            )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if placement.use_gpu:
        _count_gpus(placement.num_workers, int(ray.cluster_resources().get("GPU", 0)), may_grow=bool(address))


def _own_packages() -> dict[str, Any]:
    """What has every worker import the driver's packages, or where those are not there its machine's, as it starts:
    afterwards Ray puts the working folder first in its search path, where a clone of this repository, a folder
    `mrigen`, would be taken for the package."""
    home = str(Path(mrigen.__file__).parents[1])

    def import_them() -> None:  # nested, so that it is pickled by value: to be found by name it would need the package
        import importlib
        import sys

        sys.path.insert(0, home)
        for name in ("mrigen", "jobs"):
            importlib.import_module(name)
        sys.path.remove(home)

    return {"worker_process_setup_hook": import_them}


def _count_gpus(needed: int, found: int, *, may_grow: bool) -> None:
    if found >= needed:
        return
    if not may_grow:
        raise InputError(f"--use-gpu needs {needed} GPU(s) and Ray sees {found}: leave it out to run on CPUs")
    click.echo(f"note: --use-gpu needs {needed} GPU(s), the cluster has {found} now: waiting for it to grow", err=True)
