"""What a training run carries from step to step."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from mrigen.config import TrainingConfig
from mrigen.errors import InputError, Stopped
from mrigen.training.arithmetic import flop_counted, measured_peak
from mrigen.training.checkpoints import CHECKPOINT_NUMBERS, NUM_COPIES, Checkpoints
from mrigen.training.memory import ActivationsTooLarge, activations_counted, bytes_text, free_memory
from mrigen.training.sharding import is_sharded, whole

LEAP = 10.0
"""A loss of so many times its running mean ends the training."""
MEAN_STEPS, LEAST_STEPS = 100, 10
"""Steps that the running mean goes back, and after which it is a mean."""

Part = TypeVar("Part", bound=Sized)
Compute = Callable[[int, Part], dict[str, Tensor]]
"""Of a step and some images the terms of their loss, means over them, of which `loss` is descended."""

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
        self,
        model: nn.Module,
        settings: TrainingConfig,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        ids: Callable[[int], Iterable[str]] = lambda step: (),
    ) -> None:
        """Take up the newest of `checkpoints`, if there is one, and tell how much memory and disk all takes.

        `ids` names the images of a step. Raises InputError if the disk has no room for checkpoints, or a step fewer
        images than there are workers.
        """
        if settings.batch_size < accelerator.num_processes:
            raise InputError(
                f"training.batch_size {settings.batch_size} is less than {accelerator.num_processes} workers"
            )
        self._model, self._settings, self._accelerator, self._checkpoints = model, settings, accelerator, checkpoints
        self._ids, self.is_sharded = ids, is_sharded(model)
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Tensors that are spread cannot be copied many at once.
        self._average = EMAModel(self._trained, decay=settings.ema_decay, foreach=not self.is_sharded)
        optimizer = torch.optim.AdamW(
            self._trained, settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        num_parameters, num_trained = (
            sum(parameter.numel() for parameter in some) for some in (model.parameters(), self._trained)
        )
        num_parts = accelerator.num_processes if self.is_sharded else 1
        size, self._size = 4 * num_parameters // num_parts, 4 * num_trained // num_parts  # bytes, in float32
        checkpoint = num_parts * (size + CHECKPOINT_NUMBERS * self._size)
        _log.info(
            "%s parameters%s%s: with gradients, optimiser and average %s, beside activations; checkpoints up to %s",
            f"{num_parameters:,}",
            f", {num_trained:,} of them trained" if num_trained < num_parameters else "",
            f", spread over {num_parts} workers" if self.is_sharded else "",
            bytes_text(size + 4 * self._size),
            bytes_text(NUM_COPIES * checkpoint),
        )
        checkpoints.require_room(checkpoint)
        self.first_step = checkpoints.resume(model, self._average, optimizer)
        self._num_seen, self._mean = 0, torch.zeros((), dtype=torch.float64, device=accelerator.device)
        self._broken = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
        self._optimizer = accelerator.prepare_optimizer(optimizer)
        # DistributedDataParallel of one worker would copy each gradient there and back.
        alone = accelerator.num_processes == 1 or self.is_sharded
        self.network = accelerator.prepare_model(model, evaluation_mode=alone)
        """`network` is what the loss is computed by: the model, its gradients averaged over all workers."""

    def rehearse(self, parts: Sequence[Part], compute: Compute[Part]) -> float:
        """Time a step that changes nothing, and tell what all of them take; `parts` are those of the first. Gives the
        seconds that an image would take all workers if they did arithmetic alone, as fast as it was just measured.

        Raises InputError if the memory that is free does not hold it.
        """
        settings, step, at_once = self._settings, self.first_step, len(parts[0])
        room = free_memory(self._accelerator.device) - self._size * (1 if self._optimizer.state else 3)
        try:
            with flop_counted() as flop, activations_counted(self._model, room) as kept:
                self._backward(step, parts[:1], compute)
            began = time.monotonic()
            float(self._backward(step, parts, compute)["loss"])  # a GPU is waited for
        except (ActivationsTooLarge, torch.OutOfMemoryError):
            raise InputError(
                f"{at_once} image(s) at once take more than the {bytes_text(max(room, 0))} of memory that are free "
                f"beside weights and optimiser: set training.micro_batch_size to {max(1, at_once // 2)}, or "
                "denoiser.recompute_activations to true"
            ) from None
        seconds = time.monotonic() - began
        self._optimizer.zero_grad()
        accelerator, rate = self._accelerator, settings.batch_size / seconds
        peak = measured_peak(
            accelerator.device, torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        )
        image_at_peak_s: float = flop.get_total_flops() / at_once / (peak * accelerator.num_processes)
        _log.info(
            "a step of %d images on %d worker(s), %d at once: activations of %s, %.3g s, %.3g images a second, "
            "%.2g %% of a peak of %.3g GFLOP/s each; about %s to the end",
            *(settings.batch_size, accelerator.num_processes, at_once, bytes_text(sum(kept)), seconds, rate),
            *(100 * rate * image_at_peak_s, peak / 1e9),
            timedelta(seconds=round((settings.num_steps - step) * seconds)),
        )
        return image_at_peak_s

    def _backward(self, step: int, parts: Sequence[Part], compute: Compute[Part]) -> dict[str, Tensor]:
        """Add up the gradients of a worker's parts of a step; the terms of the loss over all workers."""
        accelerator, totals = self._accelerator, dict[str, Tensor]()
        for number, part in enumerate(parts, start=1):
            # Each image counts alike, though not every worker may have as many.
            share = len(part) * accelerator.num_processes / self._settings.batch_size
            with contextlib.nullcontext() if number == len(parts) else accelerator.no_sync(self.network):
                terms = compute(step, part)
                accelerator.backward(share * terms["loss"])
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + share * value.detach().float()
        means = accelerator.reduce(torch.stack(list(totals.values())), "mean")
        return dict(zip(totals, means, strict=True))

    def update(
        self, step: int, parts: Sequence[Part], compute: Compute[Part], watched: str = "loss"
    ) -> dict[str, Tensor]:
        """Descend the gradient of a step's loss, of which a worker has some `parts`, at the learning rate of `step`;
        the terms of the loss, the norm of the gradient and the rate.

        Raises InputError, at the end at the latest, once a gradient was not finite or the term `watched`, which is
        never negative, leapt; there is no checkpoint after that.
        """
        rate = learning_rate(step, self._settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        terms = self._backward(step, parts, compute)
        norm = whole(self._accelerator.clip_grad_norm_(self._trained, self._settings.max_grad_norm))
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._average.step(self._trained)
        done, settings = step + 1, self._settings
        self._look(done, terms[watched], norm.detach())
        # Not at each step: a GPU would have to be waited for. The terms are those of all workers, so that all stop.
        if done % settings.log_every == 0 or done == settings.num_steps:
            self._require_sound()
        return {**terms, "grad_norm": norm.detach(), "learning_rate": torch.tensor(rate, dtype=torch.float64)}

    def _look(self, done: int, loss: Tensor, norm: Tensor) -> None:
        """Note the first step that cannot be right, without waiting for its figures."""
        bound = LEAP * self._mean if self._num_seen >= LEAST_STEPS else math.inf
        now = torch.stack([torch.full_like(self._mean, done), loss.double(), self._mean, norm.double()])
        wrong = ~torch.isfinite(norm) | ~(loss <= bound)
        self._broken = torch.where((self._broken[0] == 0) & wrong, now, self._broken)
        self._num_seen += 1
        self._mean = self._mean + (loss.double() - self._mean) / min(self._num_seen, MEAN_STEPS)

    def _require_sound(self) -> None:
        done, loss, mean, norm = self._broken.tolist()
        if done:
            newest = self._checkpoints.newest()
            raise InputError(
                f"training broke down at step {done:.0f}: a loss of {loss:.4g}, on average {mean:.4g} before, with a "
                f"gradient of length {norm:.4g}. Look at the images of that step or lower the learning_rate, "
                f"{self._settings.learning_rate:g}. The last good checkpoint: {newest or 'none'}. "
                f"The images: {', '.join(self._ids(int(done) - 1))}"
            )

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model holds the averaged weights within."""
        self._average.store(self._trained)
        self._average.copy_to(self._trained)
        try:
            yield
        finally:
            self._average.restore(self._trained)

    def keep(self, done: int, *, stopping: bool) -> bool:
        """Begin a checkpoint of `done` steps if it is time for one; whether it was. After the last step it is not.

        `stopping` has it written at once, and raises Stopped. What a checkpoint's writing raised is raised at the next
        call. The first worker calls it, or all where weights are spread: then its word counts.
        """
        settings, checkpoints = self._settings, self._checkpoints
        if done == settings.num_steps:
            return False
        said = stopping, stopping or checkpoints.due(done, settings)
        if self.is_sharded:
            told = torch.tensor(said, device=self._accelerator.device)
            said = tuple(broadcast(told).tolist())
        stopping, due = said
        if not due:
            return False
        self._require_sound()
        is_first = self._accelerator.is_main_process
        checkpoints.save(done, self._model, self._average, self._optimizer, is_first=is_first)
        if stopping:
            checkpoints.wait()
            if self.is_sharded:
                self._accelerator.wait_for_everyone()  # the end of one is that of all, also of the first
            raise Stopped(f"stopped after {done} of {settings.num_steps} steps: the same command goes on from there")
        return True
