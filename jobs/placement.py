"""Where-settings: which cluster, how many workers, with or without GPUs; turned into Ray's arguments."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

import mrigen
from mrigen.errors import InputError, Stopped
from mrigen.process.cores import usable_cpus

LOCAL_CPUS = 4
"""Logical CPUs of an embedded cluster on a smaller machine: Ray's libraries start helpers of one CPU
each, and on two they starve the workers that they wait for."""
PACKAGES = ("mrigen", "jobs")
HOME = Path(mrigen.__file__).parents[1]
"""Where the driver has its packages from."""


@dataclass(frozen=True)
class Placement:
    """How many workers of which kind, on the cluster at `address`; without it at `RAY_ADDRESS`, else a local one."""

    num_workers: int = 1
    use_gpu: bool = False
    address: str | None = None
    cpus_per_worker: int | None = None
    least_workers: int | None = None
    """Where given, there are at least so many, and up to `num_workers` as the work and the cluster ask for more."""

    @property
    def cluster(self) -> str | None:
        """The address of the cluster to join; None for a local one."""
        return self.address or os.environ.get("RAY_ADDRESS")

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The torch device of a worker."""
        return "cuda" if self.use_gpu else "cpu"

    def worker_cpus(self) -> int:
        """Cores, and torch threads, of a training worker, once connected: `cpus_per_worker`, else 1 beside a GPU, else
        an equal share of the cluster's, or of those that this process may use.

        Raises InputError if the least of workers do not fit on this machine; where a cluster may grow, with a note.
        """
        import ray

        on_cluster = bool(self.cluster)
        nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        share = 1 if self.use_gpu else largest_share(nodes if on_cluster else [usable_cpus()], self.num_workers)
        cpus = self.cpus_per_worker or share
        least = self.least_workers or self.num_workers
        if _num_fitting(nodes, cpus) < least:
            told = f"{least} worker(s) of {cpus} CPU(s) do not fit on"
            less = "--num-workers and --cpus-per-worker ask for less"
            if not on_cluster:
                raise InputError(f"{told} this machine, where Ray has {sum(nodes)}: {less}")
            has = "+".join(str(cpus) for cpus in sorted(nodes, reverse=True) if cpus) or 0
            click.echo(f"note: {told} the cluster, which has {has} now: waiting for it to grow ({less})", err=True)
        return cpus


def _num_fitting(nodes: Iterable[int], cpus: int) -> int:
    return sum(node // cpus for node in nodes)


def largest_share(nodes: Sequence[int], num_workers: int) -> int:
    """The most cores that each of so many workers can have, each on one of the nodes; 1 if they do not fit."""
    sizes = range(max(nodes, default=0), 1, -1)
    return next((size for size in sizes if _num_fitting(nodes, size) >= num_workers), 1)


def connect(placement: Placement = Placement()) -> None:
    """Join the cluster that `placement` names, or start one on this machine; once a process.

    Raises InputError if no cluster answers there, or this machine has fewer GPUs than workers that need one. A cluster
    may grow by itself, so fewer there are waited for, with a note. Raises Stopped if Ray does not come up here in time.
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
        # Which packages workers take: what `_own_packages` says to a cluster, but as its workers inherit it. Ray starts
        # some of them ahead, without a runtime environment, and has no use for these where a job has one.
        os.environ.setdefault("RAY_preload_python_modules", ",".join(PACKAGES))
        if HOME.name != "site-packages":  # a clone, which is not always found by itself
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    import ray

    if not ray.is_initialized():
        if address:
            try:
                ray.init(address=address, logging_level=logging.WARNING, runtime_env=_own_packages())
            except ConnectionError as error:
                raise InputError(f"no Ray cluster at {address!r}: {' '.join(str(error).split())[:200]}") from None
        else:
            try:
                ray.init(
                    address="local",  # without it, a cluster of `ray start` on this machine would be joined
                    num_cpus=max(LOCAL_CPUS, usable_cpus()),
                    include_dashboard=False,
                    logging_level=logging.WARNING,
                    log_to_driver=False,
                )
            except Exception as error:
                if type(error) is not Exception:  # what Ray raises where its processes take too long
                    raise
                reason = " ".join(str(error).split())[:200]
                raise Stopped(f"Ray did not start: {reason} Try again when this machine is less busy") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if placement.use_gpu:
        _count_gpus(
            placement.least_workers or placement.num_workers,
            int(ray.cluster_resources().get("GPU", 0)),
            may_grow=bool(address),
        )


def _own_packages() -> dict[str, Any]:
    """What has every worker import the driver's packages, or where those are not there its machine's, as it starts:
    afterwards Ray puts the working folder first in its search path, where a clone of this repository, a folder
    `mrigen`, would be taken for the package."""
    home, names = str(HOME), PACKAGES

    def import_them() -> None:  # nested, so that it is pickled by value: to be found by name it would need the package
        import importlib
        import sys

        sys.path.insert(0, home)
        for name in names:
            importlib.import_module(name)
        sys.path.remove(home)

    return {"worker_process_setup_hook": import_them}


def _count_gpus(needed: int, found: int, *, may_grow: bool) -> None:
    if found >= needed:
        return
    if not may_grow:
        raise InputError(f"--use-gpu needs {needed} GPU(s) and Ray sees {found}: leave it out to run on CPUs")
    click.echo(f"note: --use-gpu needs {needed} GPU(s), the cluster has {found} now: waiting for it to grow", err=True)
