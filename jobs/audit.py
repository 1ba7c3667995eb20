"""`mrigen audit`: does the model copy its training images? On Ray Data."""

from __future__ import annotations

import click

from jobs.options import (
    Settings,
    command_line,
    config_options,
    out_option,
    result_folder,
    run_folder,
    samples_folder,
    samples_option,
    split_option,
)
from jobs.placement import Placement, worker_options
from jobs.results import show


@click.command("audit")
@click.argument("run")
@samples_option
@out_option("audit")
@split_option("Held-out images that tell how like new people are to training.")
@config_options
@worker_options(default_workers=2)
def command(
    run: str,
    samples: str | None,
    out: str | None,
    split: str,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> int:
    """Look for copies of training images among the samples; leaves RUN/audit.

    Every sample is compared with the training images and with the held-out images of its cell. Writes audit.json and
    index.html, which stands alone and shows training images: keep it where they may be kept. Exit status 0: no copies
    detected; 1: copies detected, or nothing could be decided. A killed run is resumed by the same command.
    """
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.audit import audit_run

    folder = run_folder(run)
    published = audit_run(
        folder,
        settings.resolve(folder),
        EachOnRay(Placement(num_workers, use_gpu), address),
        samples=samples_folder(samples, folder),
        out=result_folder(out, folder, "audit"),
        split=split,
        command=command_line("audit", run, settings, samples=samples, split=split),
    )
    show(published)
    return int(published.failed)
