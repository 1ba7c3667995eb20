"""How long work is asked to stop: by SIGTERM or Ctrl-C, so that what is in hand is ended and kept."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self


class StopSignals:
    """Takes note of SIGTERM and Ctrl-C within, in the main thread; called, it tells whether one came.

    A second one is not waited for: it is a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._came = False

    def __call__(self) -> bool:
        return self._came

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
