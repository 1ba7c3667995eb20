"""What a training run carries from step to step, and how it is written down and taken up again."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

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


class Checkpoints:
    """The checkpoints of one run: folders `step-...` of weights, average and optimiser, each closed by its hashes."""

    def __init__(self, folder: Location, digest: str) -> None:
        """`digest` names the settings that a checkpoint must have been trained with to be taken up."""
        self.folder = folder
        self.digest = digest

    def save(self, step: int, module: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer) -> None:
        """Publish the state after `step` steps, `COMPLETE.json` last, and delete all but the newest two."""
        target = self.folder / f"step-{step:08d}"
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
        with tempfile.TemporaryDirectory(prefix="mrigen-") as name:
            save_file(weights, Path(name) / "weights.safetensors")
            torch.save({"optimizer": optimizer.state_dict(), "average": average.state_dict()}, Path(name) / "state.pt")
            target.upload(Path(name))
        hashes = {file.name: file.sha256() for file in target.files() if file.name != "COMPLETE.json"}
        (target / "COMPLETE.json").write_json({"step": step, "digest": self.digest, "sha256": hashes})
        for earlier in self._steps()[:-KEPT_CHECKPOINTS]:
            (self.folder / f"step-{earlier:08d}").delete()

    def _steps(self) -> list[int]:
        complete = self.folder.files("/COMPLETE.json")
        return sorted(int(Path(file.path).parent.name.removeprefix("step-")) for file in complete)

    def resume(self, module: nn.Module, average: EMAModel, optimizer: torch.optim.Optimizer) -> int:
        """Take up the newest checkpoint whose files verify; the number of steps done, 0 without one.

        Raises InputError if it was trained with other settings.
        """
        for step in reversed(self._steps()):
            source = self.folder / f"step-{step:08d}"
            complete: dict[str, Any] = (source / "COMPLETE.json").read_json()
            if complete["digest"] != self.digest:
                raise InputError(
                    f"{source} was trained with other settings than now asked for: "
                    f"use another run folder, or delete {self.folder} to train anew"
                )
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
