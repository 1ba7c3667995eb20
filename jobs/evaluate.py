"""`mrigen evaluate`: generated images against held-out real ones, on Ray Data."""

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


@click.command("evaluate")
@click.argument("run")
@samples_option
@out_option("report")
@split_option("Real images to compare with.")
@click.option(
    "--extrapolation", is_flag=True, help="Hold cells that were kept out of training against lazy answers, too."
)
@config_options
@worker_options(default_workers=2)
def command(
    run: str,
    samples: str | None,
    out: str | None,
    split: str,
    extrapolation: bool,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> None:
    """Evaluate generated images against the held-out real ones of RUN/data; leaves RUN/report.

    Per cell, pathology and modality and for all cells: KID with a permutation test, FID, precision, recall, density
    and coverage, each beside its floor (real against real); MS-SSIM among generated and among real images; how often a
    classifier trained on real images names what was asked for; PSNR, SSIM and error of the autoencoder. Every figure
    has its N, and its interval where subjects suffice, or the reason why it cannot be had. Writes
    metrics.json and index.html, which stands alone. A killed run is resumed by the same command, and what it learned
    of the real images serves the next (RUN/.cache).
    """
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.evaluate import evaluate_run

    folder = run_folder(run)
    show(
        evaluate_run(
            folder,
            settings.resolve(folder),
            EachOnRay(Placement(num_workers, use_gpu), address),
            samples=samples_folder(samples, folder) if samples else None,
            out=result_folder(out, folder, "report"),
            split=split,
            extrapolation=extrapolation,
            command=command_line("evaluate", run, settings, samples=samples, split=split, extrapolation=extrapolation),
        )
    )
