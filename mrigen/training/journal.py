"""What a training run tells: scalars for TensorBoard, MLflow and as JSON lines, sample grids as PNG, a word to who
watches."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mrigen.config import TrainingConfig
from mrigen.storage import Location
from mrigen.training.tracking import URI, Tracking

LONGEST_SILENCE_S = 10.0
"""Scalars are recorded after as long at the latest, for steps that take long."""

LINES = "journal.jsonl"

Report = Callable[[int, Mapping[str, float]], None]
"""Called by the first worker with the number of steps done and the scalars of the last ones."""

Stop = Callable[[], bool]
"""Called by the first worker after every step: whether training is to stop."""


def never() -> bool:
    """Do not stop."""
    return False


def is_due(done: int, every: int, settings: TrainingConfig) -> bool:
    """Whether what comes `every` so many steps comes after `done` steps; it does at the end."""
    return done % every == 0 or done == settings.num_steps


class Journal:
    """Writes `tensorboard/`, `journal.jsonl` and `previews/` in a stage's folder, on the first worker only."""

    def __init__(
        self,
        folder: Location,
        settings: TrainingConfig,
        first_step: int,
        report: Report,
        image_at_peak_s: float,
        params: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`image_at_peak_s` as `TrainingState.rehearse` gives it; `params` are what MLflow tells runs apart by."""
        self._folder, self._settings, self._report, self._image_at_peak_s = folder, settings, report, image_at_peak_s
        # Both grow in place, which object stores cannot do: there they are uploaded at each flush.
        self._scratch = tempfile.TemporaryDirectory(prefix="mrigen-")
        root = folder.local or Path(self._scratch.name)
        self._events, self._lines = root / "tensorboard", root / LINES
        self._writer = SummaryWriter(str(self._events), purge_step=first_step)
        Location.parse(self._lines).write_bytes(_earlier_lines(folder / LINES, first_step))
        self._tracking = Tracking(folder, params) if os.environ.get(URI) else None
        self._last, self._last_step, self._waited = time.monotonic(), first_step, 0.0

    def step(self, done: int, values: Mapping[str, Tensor], waited: float) -> None:
        """Record scalars after `done` steps if it is time: every `log_every` steps, after 10 s, and at the end.

        With them the images a second, the part of the time that was `waited` for batches, in seconds a step, and the
        part of the arithmetic that the workers could have done. Otherwise their values are not even looked at, since a
        GPU would have to be waited for.
        """
        self._waited += waited
        silent = time.monotonic() - self._last >= LONGEST_SILENCE_S
        if silent or is_due(done, self._settings.log_every, self._settings):
            scalars = {name: float(value.detach()) for name, value in values.items()}
            seconds, self._last = time.monotonic() - self._last, time.monotonic()
            images, self._last_step = (done - self._last_step) * self._settings.batch_size, done
            rate = images / max(seconds, 1e-9)
            rates = {"images_per_s": rate, "data_wait": self._waited / max(seconds, 1e-9)}
            # Steps that beat the peak show that it was measured on a busy machine.
            self._image_at_peak_s = min(self._image_at_peak_s, 1 / rate)
            rates["peak_share"] = rate * self._image_at_peak_s
            self._waited = 0.0
            self.scalars(done, scalars | rates)

    def scalars(self, done: int, values: Mapping[str, float]) -> None:
        """Record scalars after `done` steps and report them, but for those of parts, whose names have a `/`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, done)
        with self._lines.open("a") as file:
            file.write(json.dumps({"step": done, "time": round(time.time(), 3), **values}) + "\n")
        if self._tracking:
            self._tracking.scalars(done, values)
        self._report(done, {name: value for name, value in values.items() if "/" not in name})

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
            (self._folder / LINES).write_bytes(self._lines.read_bytes())

    def close(self) -> None:
        """Flush and release the files."""
        self.flush()
        self._writer.close()
        if self._tracking:
            self._tracking.close()
        self._scratch.cleanup()


def _earlier_lines(file: Location, first_step: int) -> bytes:
    """The lines of a journal up to a step: what came after it comes again."""
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    return b"".join(line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= first_step)


def step_seconds(folder: Location, settings: TrainingConfig) -> list[tuple[int, float]]:
    """How many steps lie between the points of the loss curves in a stage's folder, and the seconds that they took.

    What a killed process did after its last point counts as what was done in its stead; that it stood still does not.
    """
    rates = {
        line["step"]: line["images_per_s"]
        for line in map(json.loads, (folder / LINES).read_bytes().splitlines())
        if "images_per_s" in line
    }
    rates = dict(sorted(rates.items()))  # a worker that outlives its killed driver may write in between
    steps = [after - before for before, after in pairwise([0, *rates])]
    return [(n, n * settings.batch_size / rate) for n, rate in zip(steps, rates.values(), strict=True)]


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
