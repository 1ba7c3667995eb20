"""What a training run tells: TensorBoard scalars, sample grids as PNG, and a word to whoever watches."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mrigen.config import TrainingConfig
from mrigen.storage import Location

LONGEST_SILENCE_S = 10.0
"""Scalars are recorded after as long at the latest, for steps that take long."""

Report = Callable[[int, Mapping[str, float]], None]
"""Called by the first worker with the number of steps done and the scalars of the last ones."""


class Journal:
    """Writes `tensorboard/` and `previews/` in a stage's folder, on the first worker only."""

    def __init__(self, folder: Location, settings: TrainingConfig, first_step: int, report: Report) -> None:
        self._folder, self._settings, self._report = folder, settings, report
        # Event files grow in place, which object stores cannot do: there they are uploaded at each flush.
        self._scratch = tempfile.TemporaryDirectory(prefix="mrigen-")
        self._events = folder.local / "tensorboard" if folder.local else Path(self._scratch.name)
        self._writer = SummaryWriter(str(self._events), purge_step=first_step)
        self._last = time.monotonic()

    def step(self, done: int, values: Mapping[str, Tensor]) -> None:
        """Record scalars after `done` steps if it is time: every `log_every` steps, after 10 s, and at the end.

        Otherwise their values are not even looked at, since a GPU would have to be waited for.
        """
        silent = time.monotonic() - self._last >= LONGEST_SILENCE_S
        if silent or self._due(done, self._settings.log_every):
            self.scalars(done, {name: float(value.detach()) for name, value in values.items()})

    def scalars(self, done: int, values: Mapping[str, float]) -> None:
        """Record scalars after `done` steps and report them."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, done)
        self._report(done, values)
        self._last = time.monotonic()

    def preview_due(self, done: int) -> bool:
        """Whether to validate after `done` steps."""
        return self._due(done, self._settings.preview_every)

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self._settings.num_steps

    def preview(self, done: int, images: Tensor, columns: int) -> None:
        """Publish images (B, 1, X, Y) in [-1, 1] as one PNG of `columns` columns."""
        (self._folder / "previews" / f"step-{done:08d}.png").write_bytes(
            tiled_png(images.float().cpu().numpy(), columns)
        )

    def flush(self) -> None:
        """Make what was recorded so far visible to readers."""
        self._writer.flush()
        if self._folder.local is None:
            (self._folder / "tensorboard").upload(self._events)

    def close(self) -> None:
        """Flush and release the files."""
        self.flush()
        self._writer.close()
        self._scratch.cleanup()


def tiled_png(images: np.ndarray[Any, Any], columns: int) -> bytes:
    """Images (B, 1, X, Y) in [-1, 1], x to the right and y upwards, side by side -> PNG."""
    upright = np.flip(images[:, 0].transpose(0, 2, 1), axis=1)
    num, height, width = upright.shape
    rows = -(-num // columns)
    sheet = np.full((rows * height, columns * width), -1.0, np.float32)
    for i, image in enumerate(upright):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = image
    pixels = np.clip((sheet + 1.0) * 127.5, 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
