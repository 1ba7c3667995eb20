"""How many cores there are for this process."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cpus() -> int:
    """Cores that this process may use: fewer than the machine's where it was pinned, or its container has a limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, container_cpus(Path("/sys/fs/cgroup")))))


def container_cpus(cgroup: Path) -> float:
    """The CPU time that a container may take, in cores, by control groups of version 2 or 1; infinite without limit."""
    names = ("cpu.max",) if (cgroup / "cpu.max").exists() else ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    try:
        quota, period = " ".join((cgroup / name).read_text() for name in names).split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
