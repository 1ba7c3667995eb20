"""A lease on a folder: who works in it, so that a second driver of the same work is refused.

Each driver keeps a file of its own in the folder, writes it anew every few seconds, and looks for those of others only
after its own is there. So of two that start at once at least one sees the other, on object stores too. Whether another
machine's driver lives is seen by its file changing: no two clocks are compared.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow.fs as pafs

from mrigen.errors import InputError, Stopped
from mrigen.storage import Location

BEAT_S = 10.0
SILENCE_S = 60.0
"""A driver whose file stays as it is for as long is taken for dead."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def leased(folder: Location) -> Iterator[None]:
    """Work in `folder` within, alone. What a dead driver left is taken over, with a warning in the log.

    Raises InputError that names whoever works there already, or who has taken over since this process was not heard of
    for long, such as in a machine that slept; that one interrupts the main thread.
    """
    own = folder / f".lease-{uuid.uuid4().hex}.tmp"  # as a temporary file, it is in no listing
    driver, beats, ended, lost = _this_driver(), itertools.count(), threading.Event(), threading.Event()

    def write() -> None:
        own.write_json(driver | {"beat": next(beats)})

    def keep() -> None:
        while not ended.wait(BEAT_S):
            with contextlib.suppress(OSError):  # the work itself will tell of a disk or store that fails
                if own.is_file():
                    write()
                    continue
                lost.set()
                ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as in the background of a script
                if ignored:
                    _log.error("%s: another driver took over: this one ends", folder)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM if ignored else signal.SIGINT)
                return

    write()
    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        _refuse_or_take_over(folder, own)
        yield
    except (KeyboardInterrupt, Stopped):
        if lost.is_set():
            raise InputError(f"{folder}: another driver took over, since this one was not heard of for long") from None
        raise
    finally:
        ended.set()
        keeper.join()
        with contextlib.suppress(OSError):
            own.delete()


def _refuse_or_take_over(folder: Location, own: Location) -> None:
    names = [name for name in leases_in(folder) if name != own.name]
    silent = {name: content for name in names if (content := _content(folder / name)) is not None}
    undecided = [name for name, content in silent.items() if not _is_dead(folder, json.loads(content))]
    for name in undecided:
        _log.warning("%s: waiting for a sign of life of %s", folder, _name(json.loads(silent[name])))
    deadline = time.monotonic() + SILENCE_S
    while undecided and time.monotonic() < deadline:
        time.sleep(min(1.0, SILENCE_S / 10))
        for name in list(undecided):
            content = _content(folder / name)
            if content is None:  # it has ended
                undecided.remove(name)
                del silent[name]
            elif content != silent[name]:
                raise _in_use(folder, json.loads(content))
    for name, content in silent.items():
        _log.warning("%s: taken over from %s, which is gone", folder, _name(json.loads(content)))
        (folder / name).delete()
    for name in leases_in(folder, "..lease-"):  # half written, amid a kill
        if own.name not in name:
            (folder / name).delete()


def leases_in(folder: Location, prefix: str = ".lease-") -> list[str]:
    """Names of the leases on a folder."""
    infos = folder.filesystem.get_file_info(pafs.FileSelector(folder.path))
    return [info.base_name for info in infos if info.base_name.startswith(prefix)]


def _content(file: Location) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _is_dead(folder: Location, driver: dict[str, Any]) -> bool:
    """Whether that driver's process is surely gone; False where it cannot be told from here.

    Raises InputError if it surely lives.
    """
    if driver["machine"] != this_machine():
        return False
    try:
        process = psutil.Process(driver["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        if abs(process.create_time() - driver["started"]) < 1:  # else another process may have got its number
            raise _in_use(folder, driver)
    except psutil.NoSuchProcess:
        return True
    return False


def _in_use(folder: Location, driver: dict[str, Any]) -> InputError:
    age = timedelta(seconds=max(0, int(time.time() - driver["started"])))
    return InputError(f"{folder} is in use by {_name(driver)}, started {age} ago: wait until it ends, or stop it")


def _name(driver: dict[str, Any]) -> str:
    return f"{driver['user']} on {driver['host']} (process {driver['pid']})"


def _this_driver() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    started = psutil.Process().create_time()
    return {
        "user": user,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": started,
        "machine": this_machine(),
    }


def this_machine() -> str:
    """Where a process has its number: this boot of this machine, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
