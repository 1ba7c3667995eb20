"""What `mrigen doctor` looks at. Each check takes what was measured and returns a `Finding`; none prints."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mrigen
from mrigen.errors import InputError

GIB = 2**30
MAX_TEMPORARY_PATH = 40
"""Ray puts sockets below the temporary folder, and a socket's path may have about 107 characters."""
EMBEDDED_MODEL = Path(mrigen.__file__).parent / "embedded" / "model"
PORTS = {8000: "mrigen serve", 8265: "the Ray dashboard and `ray job submit`", 6379: "`ray start --head`"}

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what was seen, and what mends it if it is not right."""

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """One line for a terminal."""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.status:<5}{self.name:<12}{' '.join(self.detail.split())}{remedy}"


def python_version(version: tuple[int, int, int]) -> Finding:
    """Python itself, as `sys.version_info[:3]`."""
    detail = ".".join(map(str, version))
    if version < (3, 11, 0):
        return Finding("python", "fail", detail, "install Python 3.11 or newer, then `make clean setup`")
    return Finding("python", "ok", detail)


def packages(requirements: Iterable[str], installed: Callable[[str], str | None]) -> Finding:
    """Whether each requirement (`torch>=2.11,<2.14`) is met; `installed` gives the version of a package or None."""
    from packaging.requirements import Requirement

    wrong, found = [], 0
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
        else:
            found += 1
    if wrong:
        return Finding("packages", "fail", "; ".join(wrong), "pip install -c constraints.txt -e .")
    versions = ", ".join(f"{name} {installed(name)}" for name in ("ray", "torch", "diffusers"))
    return Finding("packages", "ok", f"all {found} requirements are met: {versions}")


def installed_version(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_device(version: str, threads: int, gpus: Sequence[str], has_driver: bool) -> Finding:
    """What torch computes on: `gpus` are the names that it sees, `has_driver`: NVIDIA's driver is here."""
    detail = f"torch {version}, {threads} CPU thread{'s' if threads != 1 else ''}, "
    if gpus:
        return Finding("torch", "ok", detail + f"{len(gpus)} GPU: {', '.join(sorted(set(gpus)))}")
    if has_driver:
        remedy = "install the CUDA build of torch, and check `nvidia-smi`"
        return Finding("torch", "warn", detail + "no GPU, though an NVIDIA driver is here", remedy)
    return Finding("torch", "ok", detail + "no GPU: everything runs on the CPU")


def memory(available: int) -> Finding:
    """Free memory in bytes."""
    few, some = "Ray and torch need 2 GiB at least", "enough for the demo; training wants 4 GiB"
    return _room("memory", available, "", 4, f"{few}: end other programs", f"{some}: end other programs")


def disk(place: str, free: int) -> Finding:
    """Free space in bytes at `place`. Ray stops placing objects on a disk that is 95 % full."""
    few = "make room: a run and Ray's own files need 1 GiB at least"
    return _room("disk", free, f" in {place}", 5, few, "enough for the demo; a large data set needs more")


def _room(name: str, free: int, where: str, enough_gib: int, few: str, some: str) -> Finding:
    """Less than 1 GiB fails, for `few` is to be done; less than what is enough warns of `some`."""
    status: Status = "fail" if free < GIB else "warn" if free < enough_gib * GIB else "ok"
    return Finding(name, status, f"{free / GIB:.1f} GiB free{where}", {"fail": few, "warn": some, "ok": ""}[status])


def shared_memory(free: int | None) -> Finding:
    """Free bytes in /dev/shm, where Ray keeps its objects; None where the system has none."""
    if free is None:
        return Finding("shm", "ok", "no /dev/shm on this system: Ray uses the temporary folder")
    detail = f"{free / GIB:.1f} GiB free in /dev/shm"
    if free < GIB:
        return Finding("shm", "warn", detail, "Ray will be slow: in a container give it --shm-size=4g")
    return Finding("shm", "ok", detail)


def temporary_folder(path: str) -> Finding:
    """The folder below which Ray makes its sockets."""
    if len(path) > MAX_TEMPORARY_PATH:
        detail = f"{path} has {len(path)} characters"
        return Finding("tmp", "warn", detail, f"Ray's sockets may not fit: set TMPDIR to at most {MAX_TEMPORARY_PATH}")
    return Finding("tmp", "ok", path)


def storage(text: str) -> Finding:
    """Write a small file at a path or URI, read it back and delete it."""
    from mrigen.storage import Location

    remedy = "give a folder that you may write to, or check the credentials of the URI"
    try:
        folder = Location.parse(text)
        if folder.local is not None and not folder.is_folder():
            return Finding("storage", "fail", f"no folder {text}", "make it, or give another one with --storage")
        probe = folder / f"mrigen-doctor-{uuid.uuid4().hex}"
        content = uuid.uuid4().bytes
        try:
            probe.write_bytes(content)
            if probe.read_bytes() != content:
                return Finding("storage", "fail", f"{text} gave back other bytes than were written", remedy)
        finally:
            probe.delete()
    except (OSError, InputError) as error:
        return Finding("storage", "fail", f"cannot write to {text}: {str(error)[:200]}", remedy)
    return Finding("storage", "ok", f"{text} can be written, read and deleted")


def ports(taken: Iterable[int]) -> Finding:
    """Which of `PORTS` other programs listen on."""
    busy = sorted(taken)
    if busy:
        detail = "; ".join(f"{port} is taken, and {PORTS[port]} wants it" for port in busy)
        return Finding("ports", "warn", detail, "fine if that is your own Ray or server, else end it")
    return Finding("ports", "ok", f"{', '.join(map(str, sorted(PORTS)))} are free")


def model_folder(folder: Path, verify: Callable[[Path], object]) -> Finding:
    """Whether the embedded model is there and `verify` finds its hashes right."""
    remedy = "install mrigen again"
    if not (folder / "SHA256SUMS").is_file():
        return Finding("model", "fail", "the embedded model is missing", remedy)
    try:
        verify(folder)
    except (OSError, ValueError) as error:
        return Finding("model", "fail", str(error)[:300], remedy)
    return Finding("model", "ok", "the embedded model is whole")


def ray_address(address: str | None, auth_mode: str | None, reachable: Callable[[str, int], bool]) -> Finding:
    """Whether something answers at `RAY_ADDRESS`; `HOST:PORT`, `ray://HOST:PORT` or `auto`."""
    if not address:
        return Finding("address", "ok", "RAY_ADDRESS is not set: each command starts its own Ray")
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and not port.isdigit():
        return Finding("address", "fail", f"RAY_ADDRESS={address}", "set it to HOST:PORT, or unset it")
    if separator and not reachable(host, int(port)):
        return Finding("address", "fail", f"nothing answers at RAY_ADDRESS={address}", "start it, or unset it")
    if not auth_mode:
        remedy = "set RAY_AUTH_MODE as the cluster has it: token, or disabled"
        return Finding("address", "warn", f"RAY_ADDRESS={address}, RAY_AUTH_MODE is not set", remedy)
    return Finding("address", "ok", f"RAY_ADDRESS={address}, RAY_AUTH_MODE={auth_mode}")


def is_reachable(host: str, port: int) -> bool:
    """Whether a TCP connection to `host:port` opens within three seconds."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def ray_task(run: Callable[[], str]) -> Finding:
    """Whether Ray starts (or is joined) and runs a task; `run` does so and tells the cluster's size."""
    started = time.monotonic()
    try:
        size = run()
    except Exception as error:  # whatever keeps Ray from working is the finding
        first = f"{type(error).__name__}: {error}"[:300]
        return Finding("ray", "fail", first, "`ray stop` ends a broken one; its logs: /tmp/ray/session_latest/logs")
    return Finding("ray", "ok", f"ran a task in {time.monotonic() - started:.1f} s on {size}")


def run_ray_task() -> str:
    """Start or join Ray as every command does, run one task, and tell the CPUs and GPUs of the cluster."""
    from jobs.placement import connect

    connect()
    import ray

    double = ray.remote(lambda number: 2 * number)
    if ray.get(double.remote(21), timeout=60) != 42:
        raise RuntimeError("the task returned a wrong number")
    resources = ray.cluster_resources()
    return f"{resources.get('CPU', 0):.0f} CPUs and {resources.get('GPU', 0):.0f} GPUs"


def examine(place: str) -> Iterable[Finding]:
    """All checks on this machine, one after another; `place` is where results are to go."""
    yield python_version(sys.version_info[:3])
    found = packages(importlib.metadata.requires("mrigen") or [], installed_version)
    yield found
    if found.status == "fail":  # what follows would only fail at its imports
        return
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield torch_device(torch.__version__, torch.get_num_threads(), gpus, shutil.which("nvidia-smi") is not None)
    import psutil

    yield memory(psutil.virtual_memory().available)
    local = Path(place) if "://" not in place and Path(place).is_dir() else Path.cwd()
    yield disk(str(local.absolute()), shutil.disk_usage(local).free)
    shm = Path("/dev/shm")
    yield shared_memory(shutil.disk_usage(shm).free if shm.is_dir() else None)
    yield temporary_folder(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    yield storage(place)
    yield ports(port for port in PORTS if is_reachable("127.0.0.1", port))
    from mrigen.model_folder.facts import verify_folder

    yield model_folder(EMBEDDED_MODEL, verify_folder)
    address = ray_address(os.environ.get("RAY_ADDRESS"), os.environ.get("RAY_AUTH_MODE"), is_reachable)
    yield address
    if address.status != "fail":
        yield ray_task(run_ray_task)
