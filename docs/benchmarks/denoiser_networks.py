"""The networks of `denoiser.network` at equal time: steps, and the loss on held-out latents.

    python docs/benchmarks/denoiser_networks.py RUN [--minutes 10] [--precision bf16]

RUN has `latents/`. Each network is trained on them from nothing, by the settings of RUN, for as many minutes of one
thread's own time: what else the machine does takes none of it. The learning rate goes down with that time. Also given
is what it takes to ask the network about one of 32 latents.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import click
import torch
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.labels import all_cells
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import UNETS, Denoiser
from mrigen.run import resolve_config
from mrigen.storage import Location
from mrigen.training.latents import read_statistics
from mrigen.training.ldm import validation_losses
from mrigen.training.objective import Draw, denoiser_loss
from mrigen.training.places import Places
from mrigen.training.rows import TrainingRows

COLUMNS = ["mean", "logvar"]


def trained(config: Config, latents: Location, seconds: float, scratch: Path) -> tuple[int, Denoiser]:
    """A denoiser after so many seconds of this thread, and the number of its steps."""
    settings = config.denoiser.training
    rows, statistics = TrainingRows(latents, "train", COLUMNS, scratch, config.held_out_cells), read_statistics(latents)
    order, schedule = rows.order(config.denoiser.cell_balance), NoiseSchedule.build(config.diffusion)
    torch.manual_seed(config.seed)
    model = Denoiser.build(config)
    if config.precision == "bf16":
        model.lay_out_for_bfloat16()
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )

    def predict(latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            predicted: Tensor = model(latents, timesteps, conditions)
        return predicted.float()

    step, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        rate = min(1.0, (step + 1) / settings.warmup_steps) * (0.55 + 0.45 * math.cos(math.pi * spent / seconds))
        for group in optimizer.param_groups:
            group["lr"] = rate * settings.learning_rate
        places = Places.of_rank(0, 1, settings.batch_size, config.seed, step)
        draw = Draw.of(rows, places.rows(order), places, config, statistics)
        denoiser_loss(predict, draw, schedule, config).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
    return step, model.eval()


@torch.no_grad()
def asking_ms(model: Denoiser, config: Config) -> float:
    """Milliseconds of one thread for one of 32 latents, in the configured arithmetic; the best of eight."""
    cells = all_cells() + all_cells()[:12]
    asked = torch.randn(32, *config.latent_shape), torch.full((32,), 500), Conditions.of(cells, [0.0] * 32)
    network, best = model.in_bfloat16() if config.precision == "bf16" else model, math.inf
    for _ in range(8):
        began = time.process_time()
        network(*asked)
        best = min(best, time.process_time() - began)
    return 1000 * best / 32


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--minutes", default=10.0)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16")
def main(run: Path, minutes: float, precision: str) -> None:
    torch.set_num_threads(1)
    folder = Location.parse(run)
    print("| network | parameters | steps | s a step | held-out loss | ms a latent |\n" + "| --- " * 6 + "|")
    for name in UNETS:
        config = resolve_config(folder, None, None, (f"denoiser.network={name}", f"precision={precision}"))
        with tempfile.TemporaryDirectory() as scratch:
            steps, model = trained(config, folder / "latents", 60 * minutes, Path(scratch))
            held_out = TrainingRows(folder / "latents", "val", COLUMNS, Path(scratch), config.held_out_cells)
            schedule = NoiseSchedule.build(config.diffusion)
            losses = validation_losses(model, held_out, config, read_statistics(folder / "latents"), schedule)
        size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        told = f"{size:.1f} M | {steps} | {60 * minutes / steps:.3f} | {losses['val_loss']:.4f}"
        print(f"| {name} | {told} | {asking_ms(model, config):.2f} |", flush=True)


if __name__ == "__main__":
    main()
