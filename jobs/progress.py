"""Progress of long work: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0
RATE_OVER_S = 60.0
"""The time before now that the rate is of: what stood already is counted in the first moments."""


class ProgressLine:
    """Shows how much of `total` is done, under a `title`; a context manager."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._done, self._detail = 0, ""
        self._started = self._printed = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, detail="")

    def update(self, done: int, detail: str = "") -> None:
        """Say that `done` of the total is finished; `detail` is a few words, such as the loss."""
        self._done, self._detail = done, detail
        now = time.monotonic()
        if self._seen and not 0 < self._seen[-1][1] <= done:  # the first told stood already, or was lost and came anew
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 1 and self._seen[1][0] < now - RATE_OVER_S:
            self._seen.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, detail=f"{self._rate()}  {detail}")
        elif now - self._printed >= LINE_EVERY_S:
            self._printed = now
            self._print()

    def _print(self) -> None:
        told = [f"{self._title}: {self._done}/{self._total}", f"{time.monotonic() - self._started:.0f} s", self._rate()]
        if (rate := self._per_second()) and self._done < self._total:
            told.append(f"{timedelta(seconds=round((self._total - self._done) / rate))} left")
        print("  ".join(filter(None, [*told, self._detail])), file=sys.stderr, flush=True)

    def _per_second(self) -> float:
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        return (now - before) / (last - first) if last > first else 0.0

    def _rate(self) -> str:
        return f"{rate:.3g} a second" if (rate := self._per_second()) else ""

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._done:
            self._print()
