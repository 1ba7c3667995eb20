"""`mrigen encode`: images to latents, on Ray Data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from jobs.options import Settings, config_options, run_folder, store_config
from jobs.placement import Placement, connect, worker_options
from mrigen.config import Config
from mrigen.storage import Location


@click.command("encode")
@click.argument("run")
@config_options
@worker_options()
def command(
    run: str,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> None:
    """Encode the images of RUN/data with the autoencoder of RUN/vae; leaves RUN/latents.

    The latents are kept as mean and log-variance, with their statistics over the training split. A killed
    run is resumed by the same command.
    """
    from jobs.tasks import run_tasks
    from mrigen.records import prepared_parts
    from mrigen.run import is_finished, require_finished
    from mrigen.training.latents import LatentSums, close_latents

    folder = run_folder(run)
    config = settings.resolve(folder)
    require_finished(folder, config, "vae", "train-vae")
    if not is_finished(folder, config, "latents"):
        placement = Placement(num_workers, use_gpu)
        connect(address, placement)
        store_config(folder, config)
        tasks = [{"name": name} for name in sorted(prepared_parts(folder / "data"))]
        make_work = functools.partial(_make_work, folder, config, placement.device)
        # Added in the order of the names, so that the last digit does not hang on who was first.
        rows = sorted(run_tasks(make_work, tasks, placement, "encode"), key=lambda row: str(row["name"]))
        parts = [LatentSums(int(row["count"]), tuple(row["total"]), tuple(row["squares"])) for row in rows]
        close_latents(folder, config, parts)
    click.echo(f"latents: {folder / 'latents'}")


def _make_work(run: Location, config: Config, device: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: encode a file and sum up its latents."""
    from mrigen.training.latents import Encoder

    encoder = Encoder(run, config, device)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        sums = encoder.encode(str(task["name"]))
        return {"name": task["name"], "count": sums.count, "total": list(sums.total), "squares": list(sums.squares)}

    return work
