"""Calling the command `mrigen` in this process, or in one of its own that a test can kill."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.cli import main


def mrigen(*arguments: object) -> int:
    """Run the command line here; gives its exit status."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def mrigen_killed(until: Callable[[], bool], *arguments: object, timeout: float = 120.0) -> None:
    """Run the command line in a process with a Ray of its own, and SIGKILL it once `until` holds."""
    process = _started(*arguments)
    deadline = time.monotonic() + timeout
    while not until():
        assert process.poll() is None, f"ended by itself, with status {process.returncode}, before the kill"
        assert time.monotonic() < deadline, "what the kill waits for never came"
        time.sleep(0.02)
    process.kill()
    process.wait()


def mrigen_for(seconds: float, *arguments: object) -> bool:
    """Run the command line in a process with a Ray of its own, and SIGKILL it after a time; False if it ended before.

    One that ends by itself must succeed.
    """
    process = _started(*arguments)
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def _started(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": ""})


def hashes(folder: Path, *without: str) -> dict[str, str]:
    """SHA-256 of every file below `folder` by its path, leaving out paths that hold one of `without`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not any(part in str(path.relative_to(folder)) for part in without)
    }
