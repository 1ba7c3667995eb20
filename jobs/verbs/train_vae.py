"""`mrigen train-vae`: the autoencoder, on Ray Train."""

from __future__ import annotations

import click

from jobs.options import Settings, config_options, training_options
from jobs.placement import Placement


@click.command("train-vae")
@click.argument("run")
@config_options
@training_options
def command(run: str, start: str | None, settings: Settings, placement: Placement) -> None:
    """Train the autoencoder on the images of RUN/data; leaves RUN/vae.

    A killed run is resumed by the same command. Loss curves are in RUN/vae/tensorboard, reconstructions of
    held-out images in RUN/vae/previews.
    """
    from jobs.train_workers import train
    from mrigen.training.vae import train_autoencoder

    folder, config = settings.of_run(run)
    train(train_autoencoder, "vae", config.autoencoder.training.num_steps, config, folder, placement, start)
    if config.codec == "pixels":
        click.echo("nothing to train: with the codec `pixels` the denoiser works on the images themselves")
    else:
        click.echo(f"autoencoder: {folder / 'vae'}")
