"""Where commands run: GPUs that are not there are refused on this machine, and waited for on a cluster."""

from __future__ import annotations

import math
import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import click
import pytest

from jobs.options import worker_options
from jobs.placement import Placement, connect, largest_share
from mrigen.errors import InputError, Stopped
from mrigen.process.cores import container_cpus, usable_cpus
from tests.command import mrigen

pytestmark = pytest.mark.ray

GPUS = Placement(2, use_gpu=True)


def test_this_machine_cannot_grow_gpus(ray_cluster: None) -> None:
    message = r"^--use-gpu needs 2 GPU\(s\) and Ray sees 0: leave it out to run on CPUs$"
    with pytest.raises(InputError, match=message):
        connect(GPUS)


@pytest.mark.parametrize("by_option", [True, False])
def test_a_cluster_may_grow(
    ray_cluster: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, by_option: bool
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "" if by_option else "auto")
    connect(replace(GPUS, address="auto" if by_option else None))
    note = "note: --use-gpu needs 2 GPU(s), the cluster has 0 now: waiting for it to grow\n"
    assert capsys.readouterr().err == note


def test_workers_without_gpus_need_none(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    connect(Placement(2, address="auto"))
    assert capsys.readouterr().err == ""


def test_workers_are_as_eager_as_the_driver(ray_cluster: None) -> None:
    import ray

    niceness = ray.remote(num_cpus=0)(lambda: os.nice(0))
    assert ray.get(niceness.remote()) == os.nice(0)


@pytest.mark.parametrize(
    ("nodes", "num_workers", "cpus"),
    [
        ([16], 1, 16),
        ([16], 3, 5),
        ([1, 1], 1, 1),
        ([0, 1, 1], 2, 1),
        ([8, 4], 2, 4),
        ([8, 2], 2, 4),
        ([2], 5, 1),
        ([], 1, 1),
    ],
)
def test_workers_share_what_the_nodes_have(nodes: list[int], num_workers: int, cpus: int) -> None:
    assert largest_share(nodes, num_workers) == cpus


def test_workers_are_sized_by_the_cluster_or_by_the_user(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    import ray

    found = int(ray.cluster_resources()["CPU"])  # more than this machine's, where that has few
    assert Placement(2).worker_cpus() == max(1, usable_cpus() // 2)
    assert Placement(2, address="auto").worker_cpus() == found // 2
    assert Placement(1, address="auto", cpus_per_worker=3).worker_cpus() == 3
    assert capsys.readouterr().err == ""
    assert Placement(1, address="auto", cpus_per_worker=100).worker_cpus() == 100
    less = "--num-workers and --cpus-per-worker ask for less"
    assert capsys.readouterr().err == (
        f"note: 1 worker(s) of 100 CPU(s) do not fit on the cluster, which has {found} now: "
        f"waiting for it to grow ({less})\n"
    )
    told = f"^99 worker.s. of 1 CPU.s. do not fit on this machine, where Ray has {found}: {less}$"
    with pytest.raises(InputError, match=told):
        Placement(99).worker_cpus()
    assert Placement(99, least_workers=1).worker_cpus() == 1


@pytest.mark.parametrize(("text", "numbers"), [("3", (None, 3)), ("2:16", (2, 16)), ("1:1", (1, 1))])
def test_workers_are_a_number_or_a_range(text: str, numbers: tuple[int | None, int]) -> None:
    found: list[Placement] = []
    command = click.command()(worker_options()(lambda placement: found.append(placement)))
    command.main(["--num-workers", text], standalone_mode=False)
    assert (found[0].least_workers, found[0].num_workers) == numbers


@pytest.mark.parametrize("text", ["0", "16:2", "0:3", ":3", "2:", "a", "1:2:3"])
def test_no_other_number_of_workers_is_taken(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("generate", "--out", "x", "--num-workers", text) == 2
    assert f"{text!r} is neither a number above 0 nor two such, as 2:16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, files: dict[str, str], cpus: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_cpus(tmp_path) == cpus


@pytest.mark.ray
def test_no_port_of_metrics_is_open_to_the_network(ray_cluster: None) -> None:
    import ray

    [node] = ray.nodes()
    with socket.socket() as client, pytest.raises((OSError, OverflowError)):
        client.connect((node["NodeManagerAddress"], node["MetricsExportPort"]))


def test_a_ray_that_does_not_come_up_is_told_in_a_line_and_faults_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def start(fault: Exception) -> None:
        def init(**options: object) -> None:
            raise fault

        monkeypatch.setattr(os, "environ", dict(os.environ))
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", init)
        connect(Placement())

    late = Exception("The current node timed out during startup.\nThe GCS is overloaded.")
    told = "Ray did not start: The current node timed out during startup. The GCS is overloaded. Try again when"
    with pytest.raises(Stopped, match=f"^{re.escape(told)} this machine is less busy$"):
        start(late)
    with pytest.raises(ValueError, match="no such option"):
        start(ValueError("no such option"))
