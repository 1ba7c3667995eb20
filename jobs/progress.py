"""Progress of long work: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0


class ProgressLine:
    """Shows how much of `total` is done, under a `title`; a context manager."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._done, self._detail = 0, ""
        self._started = self._printed = time.monotonic()
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
        if self._bar is not None:
            self._bar.update(self._task, completed=done, detail=detail)
        elif now - self._printed >= LINE_EVERY_S:
            self._printed = now
            self._print()

    def _print(self) -> None:
        seconds = time.monotonic() - self._started
        detail = f"  {self._detail}" if self._detail else ""
        print(f"{self._title}: {self._done}/{self._total}  {seconds:.0f} s{detail}", file=sys.stderr, flush=True)

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
