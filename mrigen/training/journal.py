"""What a training run tells: TensorBoard scalars, sample grids as PNG, and a word to whoever watches."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mrigen.storage import Location

Report = Callable[[int, Mapping[str, float]], None]
"""Called by the first worker with the number of steps done and the scalars of the last ones."""


class Journal:
    """Writes `tensorboard/` and `previews/` in a stage's folder; a context manager, on the first worker only."""

    def __init__(self, folder: Location, first_step: int, report: Report) -> None:
        self._folder = folder
        self._report = report
        # Event files grow in place, which object stores cannot do: there they are uploaded at each flush.
        self._scratch = tempfile.TemporaryDirectory(prefix="mrigen-")
        self._events = folder.local / "tensorboard" if folder.local else Path(self._scratch.name)
        self._writer = SummaryWriter(str(self._events), purge_step=first_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars after `step` steps and report them."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._report(step, values)

    def preview(self, step: int, images: Tensor, columns: int) -> None:
        """Publish images (B, 1, X, Y) in [-1, 1] as one PNG of `columns` columns."""
        (self._folder / "previews" / f"step-{step:08d}.png").write_bytes(
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
