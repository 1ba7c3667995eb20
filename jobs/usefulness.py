"""`mrigen usefulness`: classifiers trained on synthetic images, on real ones and on both, on Ray Data."""

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
)
from jobs.placement import Placement, worker_options
from jobs.results import show


@click.command("usefulness")
@click.argument("run")
@samples_option
@out_option("usefulness")
@config_options
@worker_options(default_workers=2)
def command(
    run: str,
    samples: str | None,
    out: str | None,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> None:
    """Train classifiers of pathology on synthetic, on real and on both kinds of images; leaves RUN/usefulness.

    All are tested on the held-out real images of RUN/data, at several amounts of real data and with several seeds.
    Writes usefulness.json and index.html, which stands alone. Every training that is done is kept (RUN/.cache): a
    killed study is finished by the same command, and one of other samples trains on them alone.
    """
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.usefulness import usefulness_run

    folder = run_folder(run)
    published = usefulness_run(
        folder,
        settings.resolve(folder),
        EachOnRay(Placement(num_workers, use_gpu), address),
        samples=samples_folder(samples, folder),
        out=result_folder(out, folder, "usefulness"),
        command=command_line("usefulness", run, settings, samples=samples),
    )
    show(published)
