"""`mrigen ablate`: generation without a condition, without guidance and with fewer steps, on Ray Data."""

from __future__ import annotations

import click

from jobs.options import Settings, command_line, config_options, out_option, result_folder, run_folder
from jobs.placement import Placement, worker_options
from jobs.results import show


@click.command("ablate")
@click.argument("run")
@out_option("ablation")
@config_options
@worker_options(default_workers=2)
def command(
    run: str, out: str | None, settings: Settings, address: str | None, num_workers: int, use_gpu: bool
) -> None:
    """Generate with RUN/model again, leaving something out each time, and measure what it costs; leaves RUN/ablation.

    Without the pathology, without the modality, without guidance, at other guidance scales, and with each solver at
    several numbers of steps. A few samples of every trained cell are held against the held-out real images of
    RUN/data by KID and by a classifier of pathology and modality. Writes ablation.json and index.html, which stands
    alone. A killed ablation is finished by the same command; what is done is kept in RUN/.cache.
    """
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.ablate import ablate_run

    folder = run_folder(run)
    published = ablate_run(
        folder,
        settings.resolve(folder),
        EachOnRay(Placement(num_workers, use_gpu), address),
        out=result_folder(out, folder, "ablation"),
        command=command_line("ablate", run, settings),
        tell=lambda note: click.echo(f"note: {note}", err=True),
    )
    show(published)
