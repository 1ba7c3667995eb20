"""Does one job after another, each by a process that can be killed at any time: what it made is kept."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from jobs.serve.bulk.store import Job, JobStore
from jobs.serve.meter import Meter
from jobs.serve.refusals import Refused

Process = subprocess.Popen[str]
POLL_S = 0.2
RETRY_S = 10.0
FAULT = "an error of the server: its log holds the reason"

_log = logging.getLogger("mrigen")


class JobRunner:
    """Within, the jobs of a store are done, in a thread; `start` starts the process of one, or raises Refused.

    A process ends with 0, with 2 and a line on its standard output that tells the client what was wrong, or with 74
    where the disk is full: then it is started again later.
    """

    def __init__(self, store: JobStore, start: Callable[[Job], Process], meter: Meter) -> None:
        self._store, self._start, self._meter = store, start, meter
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            self._store.sweep()
            if (job := self._store.next()) is None:
                continue
            try:
                self._work(job)
            except Refused as error:  # the server was started again without its model
                self._store.end(job, error.detail)
            except OSError:  # of the disk or the store, which may be there again later
                _log.exception("%s: trying again in %g s", job.id, RETRY_S)
                self._stopping.wait(RETRY_S)
            except Exception:
                _log.exception("%s", job.id)
                with contextlib.suppress(OSError):
                    self._store.end(job, FAULT)

    def _work(self, job: Job) -> None:
        self._store.begin(job)
        with self._start(job) as process:
            while process.poll() is None:
                if self._stopping.wait(POLL_S) or not self._store.stands(job):
                    process.kill()
                    process.wait()
                self._store.sweep()
            told = process.stdout.read().strip() if process.stdout else ""
        if self._stopping.is_set() or not self._store.stands(job):
            return
        if process.returncode == os.EX_IOERR:
            raise OSError("the disk is full")
        fault = None if process.returncode == 0 else (process.returncode == 2 and told) or FAULT
        self._store.end(job, fault)
        if fault is None:
            model_sha256, counts = self._store.made(job)
            for cell, count in counts.items():
                self._meter.note_samples(model_sha256, cell, count)


def start_process(command: Sequence[str], first_line: str) -> Process:
    """A process that is told its work by a line on its standard input, which stays open as long as this one lives."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    # A session of its own: Ctrl-C at the terminal is for the server.
    process = subprocess.Popen([sys.executable, *command], text=True, start_new_session=True, **pipes)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(first_line + "\n")
    process.stdin.flush()
    # Not the terminal itself, where it would draw a bar over the server's log.
    threading.Thread(target=sys.stderr.writelines, args=(process.stderr,), daemon=True).start()
    return process
