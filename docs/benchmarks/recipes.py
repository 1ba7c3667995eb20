"""What training by a preset takes: shapes, parameters, FLOP and memory, computed on tensors without content.

    python docs/benchmarks/recipes.py [slice128 slice256]

Nothing is trained and no number of the tensors is computed: each operator tells what it would give (FakeTensorMode),
its FLOP and what it keeps for the way back, in the arithmetic of the preset. Times are those of a
device that reaches `SHARE` of its peak, an assumption, and of bf16 only; peaks are dense bf16 of the vendor's sheets.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mrigen.config import Config, TrainingConfig, load_config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.labels import all_cells
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.models.losses import AutoencoderObjective
from mrigen.training.arithmetic import flop_counted
from mrigen.training.memory import activations_counted, bytes_text
from mrigen.training.objective import Draw, denoiser_loss

SHARE = 0.35
DEVICES = {"24 GB (RTX 4090)": (24e9, 165e12), "80 GB (A100)": (80e9, 312e12)}
USABLE = 0.85
"""Part of a GPU's memory that is not lost to its context, to workspaces and to gaps."""
IMAGES = 4


def autoencoder_step(config: Config) -> tuple[nn.Module, Callable[[], Tensor]]:
    settings = config.autoencoder
    objective = AutoencoderObjective(Autoencoder.build(config), settings)
    side = settings.crop_size or config.data.image_size
    images, noise = torch.zeros(2, IMAGES, 1, side, side)
    latents = torch.zeros(IMAGES, settings.latent_channels, *[side // settings.downsampling] * 2)
    lesions, levels = torch.zeros_like(images), torch.zeros(IMAGES, 1, 1, 1)
    return objective, lambda: objective(images, latents, levels, noise, lesions, 0)["loss"]


def denoiser_step(config: Config, *, recompute: bool) -> tuple[nn.Module, Callable[[], Tensor]]:
    model = Denoiser.build(config).to(memory_format=torch.channels_last)
    if recompute:
        model.unet.enable_gradient_checkpointing()
    x0, noise = torch.zeros(2, IMAGES, *config.latent_shape)
    conditions = Conditions.of(all_cells()[:IMAGES], [0.0] * IMAGES)
    draw, schedule = (
        Draw(x0, noise, torch.zeros(IMAGES, dtype=torch.long), conditions),
        NoiseSchedule.build(config.diffusion),
    )
    return model, lambda: denoiser_loss(model, draw, schedule, config)


def told(name: str, settings: TrainingConfig, model: nn.Module, loss: Callable[[], Tensor], bf16: bool) -> str:
    """A row of the table."""
    autocast = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
    with flop_counted() as flop:
        with autocast, activations_counted(model) as kept:
            total = loss()
        total.backward()
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    state, image, flops = 20 * num_parameters, sum(kept) / IMAGES, flop.get_total_flops() / IMAGES
    cells = [name, f"{num_parameters / 1e6:.1f} M", bytes_text(state), bytes_text(image), f"{flops / 1e9:.1f}"]
    for memory, peak in DEVICES.values():
        fits = int((USABLE * memory - state) / image)
        hours = flops * settings.batch_size * settings.num_steps / (SHARE * peak) / 3600
        time = f", {hours:.1f} h" if bf16 else ""
        cells.append(f"{min(fits, settings.batch_size)} of {settings.batch_size}{time}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    header = ["training", "parameters", "state", "activations an image", "GFLOP an image", *DEVICES]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for preset in sys.argv[1:] or ["slice128", "slice256"]:
        config = load_config(preset)
        bf16 = config.precision == "bf16"
        # Fake tensors cannot change their layout, which changes none of these figures.
        with FakeTensorMode(), mock.patch.object(nn.Module, "to", lambda module, *_, **__: module):
            stage = f"{preset}, autoencoder"
            print(told(stage, config.autoencoder.training, *autoencoder_step(config), bf16))
            for recompute in (False, True):
                stage = f"{preset}, denoiser{', recomputing' if recompute else ''}"
                print(told(stage, config.denoiser.training, *denoiser_step(config, recompute=recompute), bf16))


if __name__ == "__main__":
    main()
