"""Checkpoints: the state of a training, written beside its steps and taken up again."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrigen.config import TrainingConfig
from mrigen.errors import InputError
from mrigen.storage import Location
from mrigen.training.memory import bytes_text
from mrigen.training.sharding import parts_like, whole

KEPT_CHECKPOINTS = 2
NUM_COPIES = KEPT_CHECKPOINTS + 2
"""Checkpoints that stand at once: those kept, one that is being written, and its temporary copy."""
CHECKPOINT_NUMBERS = 3
"""Numbers in a checkpoint for each weight that is trained, beside itself: its average and AdamW's two moments."""
COMPLETE = "COMPLETE.json"

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run: folders `step-...` of weights, average and optimiser, each closed by its hashes.

    They are written in a thread, from a copy, while training goes on.
    """

    def __init__(self, folder: Location, settings: Mapping[str, Any]) -> None:
        """`settings` are those that a checkpoint is trained with: `mrigen.run.is_finished` refuses others."""
        self.folder = folder
        self.settings = settings
        self._thread = ThreadPoolExecutor(1, "mrigen-checkpoint")
        self._written: Future[None] | None = None
        self._last = time.monotonic()

    def require_room(self, size: int) -> None:
        """Raises InputError if a local disk has no room for two checkpoints of so many bytes."""
        local = self.folder.local
        if local is None:
            return
        free = shutil.disk_usage(next(path for path in local.parents if path.exists())).free
        if free < 2 * size:
            raise InputError(
                f"{self.folder}: two checkpoints take {bytes_text(2 * size)} and the disk has {bytes_text(free)}: "
                "make room, or take another folder"
            )

    def due(self, step: int, settings: TrainingConfig) -> bool:
        """Whether it is time for a checkpoint, by the clock or the steps; raises what the last one raised."""
        if self._written is not None and self._written.done():
            self.wait()
        if settings.checkpoint_every is not None and step % settings.checkpoint_every == 0:
            return True
        return self._written is None and time.monotonic() - self._last >= 60 * settings.checkpoint_minutes

    def wait(self) -> None:
        """Until the last checkpoint is published; raises what its writing raised."""
        if self._written is not None:
            written, self._written = self._written, None
            written.result()

    def save(
        self,
        step: int,
        module: nn.Module,
        average: EMAModel,
        optimizer: torch.optim.Optimizer,
        *,
        is_first: bool = True,
    ) -> None:
        """Begin to publish the state after `step` steps, once the last one is published.

        Where weights are spread all workers call it, of whom the first publishes.
        """
        self.wait()
        self._last = time.monotonic()
        weights = _copied(module.state_dict(), is_first)
        state = _copied({"optimizer": optimizer.state_dict(), "average": average.state_dict()}, is_first)
        if is_first:
            weights = {name: tensor.contiguous() for name, tensor in weights.items()}
            self._written = self._thread.submit(self._write, step, weights, state)

    def _write(self, step: int, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Publish a checkpoint, `COMPLETE.json` last, and delete all but the newest two."""
        target = self.folder / f"step-{step:08d}"
        with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
            save_file(weights, Path(name) / "weights.safetensors")
            torch.save(state, Path(name) / "state.pt")
            hashes = {path.name: Location.parse(path).sha256() for path in Path(name).iterdir()}
            target.upload(Path(name))
        (target / COMPLETE).write_json({"step": step, "settings": self.settings, "sha256": hashes})
        for earlier in self._steps()[:-KEPT_CHECKPOINTS]:
            (self.folder / f"step-{earlier:08d}").delete()

    def _steps(self) -> list[int]:
        complete = self.folder.files(f"/{COMPLETE}")
        return sorted(int(Path(file.path).parent.name.removeprefix("step-")) for file in complete)

    def newest(self) -> Location | None:
        """The newest that is published, once what is being written is."""
        self.wait()
        steps = self._steps()
        return self.folder / f"step-{steps[-1]:08d}" if steps else None

    def resume(self, module: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer) -> int:
        """Take up the newest checkpoint whose files verify; the number of steps done, 0 without one.

        One that is damaged is named in a warning.
        """
        for step in reversed(self._steps()):
            source = self.folder / f"step-{step:08d}"
            if (damaged := _damaged(source)) is not None:
                _log.warning(
                    "%s is damaged: this checkpoint is passed over, for the one before it if there is one", damaged
                )
                continue
            with source.as_local() as local:
                trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                of_each = {"state": {k: {"exp_avg": one, "exp_avg_sq": one} for k, one in enumerate(trained)}}
                module.load_state_dict(parts_like(load_file(local / "weights.safetensors"), module.state_dict()))
                state = torch.load(local / "state.pt", map_location=trained[0].device, weights_only=True)
                state = parts_like(state, {"optimizer": of_each, "average": {"shadow_params": trained}})
            optimizer.load_state_dict(state["optimizer"])
            average.load_state_dict(state["average"])
            return step
        return 0

    def delete(self) -> None:
        """Remove all checkpoints: the stage is finished and its result published."""
        self.wait()
        self.folder.delete()


def _damaged(checkpoint: Location) -> Location | None:
    """The file of a checkpoint that is not what it was."""
    complete = checkpoint / COMPLETE
    try:
        hashes: dict[str, str] = complete.read_json()["sha256"]
    except (InputError, KeyError, TypeError):
        return complete
    for name, digest in hashes.items():
        if not ((file := checkpoint / name).is_file() and file.sha256() == digest):
            return file
    return None


def _copied(tree: Any, kept: bool) -> Any:
    """A copy of nested dictionaries and lists, its tensors whole and on the CPU, or None if they are not to be kept."""
    if isinstance(tree, Tensor):
        tensor = whole(tree.detach())
        return tensor.to("cpu", copy=True) if kept else None
    if isinstance(tree, Mapping):
        return {key: _copied(value, kept) for key, value in tree.items()}
    return [_copied(value, kept) for value in tree] if isinstance(tree, list) else tree
