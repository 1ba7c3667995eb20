"""What a training run carries from step to step, and how it is written down and taken up again."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrigen.config import TrainingConfig
from mrigen.errors import InputError, Stopped
from mrigen.storage import Location

KEPT_CHECKPOINTS = 2
NUM_COPIES = KEPT_CHECKPOINTS + 2
"""Checkpoints that stand at once: those kept, one that is being written, and its temporary copy."""
CHECKPOINT_WEIGHTS = 4
"""Numbers in a checkpoint for each weight: itself, its average and AdamW's two moments."""
COMPLETE = "COMPLETE.json"

_log = logging.getLogger(__name__)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Learning rate at `step`: linear warm-up, then a cosine from the peak down to a tenth of it."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))


class TrainingState:
    """A network, the average of its weights and its optimiser, from step to step."""

    def __init__(
        self, model: nn.Module, settings: TrainingConfig, accelerator: Accelerator, checkpoints: Checkpoints
    ) -> None:
        """Take up the newest of `checkpoints`, if there is one, and tell how much memory and disk all takes.

        Raises InputError if the disk has no room for checkpoints.
        """
        self._model, self._settings, self._accelerator, self._checkpoints = model, settings, accelerator, checkpoints
        self._average = EMAModel(model.parameters(), decay=settings.ema_decay)
        optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        size = 4 * num_parameters  # bytes, in float32
        _log.info(
            "%s parameters: with gradients, optimiser and average %s, beside activations; checkpoints up to %s",
            *(f"{num_parameters:,}", _bytes_text(5 * size), _bytes_text(NUM_COPIES * CHECKPOINT_WEIGHTS * size)),
        )
        checkpoints.require_room(CHECKPOINT_WEIGHTS * size)
        self.first_step = checkpoints.resume(model, self._average, optimizer)
        self._finite = torch.ones((), dtype=torch.bool, device=accelerator.device)
        self.network, self._optimizer = accelerator.prepare(model, optimizer)
        """`network` is what the loss is computed by: the model, its gradients averaged over all workers."""

    def update(self, step: int, loss: Tensor) -> Tensor:
        """Descend the gradient of `loss` at the learning rate of `step`; the norm of the gradient, a scalar.

        Raises InputError, at the end at the latest, once a gradient was not finite; there is no checkpoint after that.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, self._settings)
        self._accelerator.backward(loss)
        norm: Tensor = self._accelerator.clip_grad_norm_(self.network.parameters(), self._settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._average.step(self._model.parameters())
        self._finite = self._finite & torch.isfinite(norm.detach())
        done, settings = step + 1, self._settings
        # Not at each step: a GPU would have to be waited for. The norm is that of all workers, so that all stop.
        if done % settings.log_every == 0 or done == settings.num_steps:
            self._require_finite(done)
        return norm

    def _require_finite(self, done: int) -> None:
        if not bool(self._finite):
            raise InputError(
                f"training broke down by step {done}: a gradient was not finite. Lower the learning_rate, "
                f"{self._settings.learning_rate:g}, and start again; the weights of the last checkpoint are whole"
            )

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model holds the averaged weights within."""
        self._average.store(self._model.parameters())
        self._average.copy_to(self._model.parameters())
        try:
            yield
        finally:
            self._average.restore(self._model.parameters())

    def keep(self, done: int, *, stopping: bool) -> bool:
        """Begin a checkpoint of `done` steps if it is time for one; whether it was. After the last step it is not.

        `stopping` has it written at once, and raises Stopped. What a checkpoint's writing raised is raised at the next
        call.
        """
        settings, checkpoints = self._settings, self._checkpoints
        if done == settings.num_steps or not (stopping or checkpoints.due(done, settings)):
            return False
        self._require_finite(done)
        checkpoints.save(done, self._model, self._average, self._optimizer)
        if stopping:
            checkpoints.wait()
            raise Stopped(f"stopped after {done} of {settings.num_steps} steps: the same command goes on from there")
        return True


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
                f"{self.folder}: two checkpoints take {_bytes_text(2 * size)} and the disk has {_bytes_text(free)}: "
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

    def save(self, step: int, module: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer) -> None:
        """Begin to publish the state after `step` steps, once the last one is published."""
        self.wait()
        self._last = time.monotonic()
        weights = {name: tensor.contiguous() for name, tensor in _copied(module.state_dict()).items()}
        state = _copied({"optimizer": optimizer.state_dict(), "average": average.state_dict()})
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
                device = next(module.parameters()).device
                module.load_state_dict(load_file(local / "weights.safetensors"))
                state = torch.load(local / "state.pt", map_location=device, weights_only=True)
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


def _bytes_text(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _copied(tree: Any) -> Any:
    """A copy of nested dictionaries and lists, its tensors on the CPU."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
