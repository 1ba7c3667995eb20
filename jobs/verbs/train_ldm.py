"""`mrigen train-ldm`: the conditional denoiser, on Ray Train."""

from __future__ import annotations

import click

from jobs.options import Settings, config_options, training_options
from jobs.placement import Placement


@click.command("train-ldm")
@click.argument("run")
@config_options
@training_options
def command(run: str, start: str | None, settings: Settings, placement: Placement) -> None:
    """Train the denoiser on the latents of RUN/latents; leaves the deployable RUN/model.

    A killed run is resumed by the same command. Loss curves are in RUN/ldm/tensorboard, a sample of every
    cell in RUN/ldm/previews.
    """
    from jobs.train_workers import train
    from mrigen.training.ldm import train_denoiser

    folder, config = settings.of_run(run)
    train(train_denoiser, "ldm", config.denoiser.training.num_steps, config, folder, placement, start)
    click.echo(f"model: {folder / 'model'}")
