"""What a training run carries from step to step, and how it is written down and taken up again."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrigen.config import TrainingConfig
from mrigen.errors import InputError
from mrigen.storage import Location

KEPT_CHECKPOINTS = 2


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
        """Take up the newest of `checkpoints`, if there is one."""
        self._model, self._settings, self._accelerator, self._checkpoints = model, settings, accelerator, checkpoints
        self._average = EMAModel(model.parameters(), decay=settings.ema_decay)
        optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.first_step = checkpoints.resume(model, self._average, optimizer)
        self._finite = torch.ones((), dtype=torch.bool, device=accelerator.device)
        self.network, self._optimizer = accelerator.prepare(model, optimizer)
        """`network` is what the loss is computed by: the model, its gradients averaged over all workers."""

    def update(self, step: int, loss: Tensor) -> Tensor:
        """Descend the gradient of `loss` at the learning rate of `step`; the norm of the gradient, a scalar.

        Raises InputError, no later than before a checkpoint or the end, once a gradient was not finite.
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
        if (done % settings.log_every == 0 or done % settings.checkpoint_every == 0 or done == settings.num_steps) and (
            not bool(self._finite)
        ):
            raise InputError(
                f"training broke down by step {done}: a gradient was not finite. Lower the learning_rate, "
                f"{settings.learning_rate:g}, and start again; the weights of the last checkpoint are whole"
            )
        return norm

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model holds the averaged weights within."""
        self._average.store(self._model.parameters())
        self._average.copy_to(self._model.parameters())
        try:
            yield
        finally:
            self._average.restore(self._model.parameters())

    def save(self, done: int) -> None:
        """Publish a checkpoint after `done` steps."""
        self._checkpoints.save(done, self._model, self._average, self._optimizer)


class Checkpoints:
    """The checkpoints of one run: folders `step-...` of weights, average and optimiser, each closed by its hashes."""

    def __init__(self, folder: Location, settings: Mapping[str, Any]) -> None:
        """`settings` are those that a checkpoint is trained with: `mrigen.run.is_finished` refuses others."""
        self.folder = folder
        self.settings = settings

    def save(self, step: int, module: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer) -> None:
        """Publish the state after `step` steps, `COMPLETE.json` last, and delete all but the newest two."""
        target = self.folder / f"step-{step:08d}"
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
        with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
            save_file(weights, Path(name) / "weights.safetensors")
            torch.save({"optimizer": optimizer.state_dict(), "average": average.state_dict()}, Path(name) / "state.pt")
            target.upload(Path(name))
        hashes = {file.name: file.sha256() for file in target.files() if file.name != "COMPLETE.json"}
        (target / "COMPLETE.json").write_json({"step": step, "settings": self.settings, "sha256": hashes})
        for earlier in self._steps()[:-KEPT_CHECKPOINTS]:
            (self.folder / f"step-{earlier:08d}").delete()

    def _steps(self) -> list[int]:
        complete = self.folder.files("/COMPLETE.json")
        return sorted(int(Path(file.path).parent.name.removeprefix("step-")) for file in complete)

    def resume(self, module: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer) -> int:
        """Take up the newest checkpoint whose files verify; the number of steps done, 0 without one."""
        for step in reversed(self._steps()):
            source = self.folder / f"step-{step:08d}"
            complete: dict[str, Any] = (source / "COMPLETE.json").read_json()
            if not all(_verifies(source / name, digest) for name, digest in complete["sha256"].items()):
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
        self.folder.delete()


def _verifies(file: Location, digest: str) -> bool:
    return file.is_file() and file.sha256() == digest
