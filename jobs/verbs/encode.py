"""`mrigen encode`: images to latents, on Ray Data."""

from __future__ import annotations

import click

from jobs.options import Settings, config_options, worker_options
from jobs.placement import Placement


@click.command("encode")
@click.argument("run")
@config_options
@worker_options(default_workers=2)
def command(run: str, settings: Settings, placement: Placement) -> None:
    """Encode the images of RUN/data with the autoencoder of RUN/vae; leaves RUN/latents.

    The latents are kept as mean and log-variance, with their statistics over the training split. A killed
    run is resumed by the same command.
    """
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.encode import encode_run

    folder, config = settings.of_run(run)
    encode_run(folder, config, EachOnRay(placement))
    click.echo(f"latents: {folder / 'latents'}")
