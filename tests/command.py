"""Calling the command `mrigen` in this process, or in one of its own that a test can kill."""

from __future__ import annotations

import hashlib
import os
import signal
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


def mrigen_killed(until: Callable[[], bool], *arguments: object, by: int = signal.SIGKILL) -> tuple[int, str]:
    """Run the command line in a process with a Ray of its own, and send it a signal once `until` holds; gives exit
    status and standard error."""
    with mrigen_started(*arguments) as process:
        wait_until(until, process)
        process.send_signal(by)
        _, error = process.communicate()
    return process.returncode, error


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 240.0) -> None:
    """Until something holds, while a process works."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert process.poll() is None, f"ended by itself, with status {process.returncode}, before the kill"
        assert time.monotonic() < deadline, "what the kill waits for never came"
        time.sleep(0.02)


def mrigen_for(seconds: float, *arguments: object) -> bool:
    """Run the command line in a process with a Ray of its own, and SIGKILL it after a time; False if it ended before.

    One that ends by itself must succeed.
    """
    process = mrigen_started(*arguments)
    try:
        process.communicate(timeout=seconds)
        assert process.returncode == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def mrigen_started(*arguments: object, ray_address: str = "") -> subprocess.Popen[str]:
    """The command line in a process of its own, on the Ray at an address or one of its own."""
    command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": ray_address}, stderr=subprocess.PIPE, text=True)


def hashes(folder: Path, *without: str) -> dict[str, str]:
    """SHA-256 of every file below `folder` by its path, leaving out paths that hold one of `without`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not any(part in str(path.relative_to(folder)) for part in without)
    }


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Ask every fifth of a second, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
