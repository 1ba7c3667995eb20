"""`mrigen evaluate`: generated images against held-out real ones."""

from __future__ import annotations

import click

from jobs.measuring import SAMPLES, Stage, measuring_command, split_option

EXTRAPOLATION = click.option(
    "--extrapolation", is_flag=True, help="Hold cells that were kept out of training against lazy answers, too."
)


@measuring_command("evaluate", "report", SAMPLES, split_option("Real images to compare with."), EXTRAPOLATION)
def command() -> Stage:
    """Evaluate generated images against the held-out real ones of RUN/data; leaves RUN/report.

    Per cell, pathology and modality and for all cells: KID with a permutation test, FID, precision, recall, density
    and coverage, each beside its floor (real against real); MS-SSIM among generated and among real images; how often a
    classifier trained on real images names what was asked for; PSNR, SSIM and error of the autoencoder. Every figure
    has its N, and its interval where subjects suffice, or the reason why it cannot be had. Writes
    metrics.json and index.html, which stands alone. A killed run is resumed by the same command, and what it learned
    of the real images serves the next (RUN/.cache).
    """
    from mrigen.stages.evaluate import evaluate_run

    return evaluate_run
