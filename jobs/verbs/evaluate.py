"""`mrigen evaluate`: generated images against held-out real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.measuring import SAMPLES, Stage, measuring_command, split_option
from jobs.options import input_folder
from mrigen.errors import InputError

if TYPE_CHECKING:
    from mrigen.report.publish import Published

EXTRAPOLATION = click.option(
    "--extrapolation", is_flag=True, help="Hold cells that were kept out of training against lazy answers, too."
)

REAL = click.option("--real", metavar="DIR", help="Data of another run, to test on; leaves RUN/external.")
SPLIT = split_option("Real images to compare with; all of them only with --real.", "all")


@measuring_command("evaluate", "report", SAMPLES, SPLIT, EXTRAPOLATION, REAL)
def command() -> Stage:
    """Evaluate generated images against the held-out real ones of RUN/data; leaves RUN/report.

    The leading figures come into the card of the samples, too, until these grow.

    Per cell, pathology and modality and for all cells: KID with a permutation test, FID, precision, recall, density
    and coverage, each beside its floor (real against real); MS-SSIM among generated and among real images; how often a
    classifier trained on real images names what was asked for; PSNR, SSIM and error of the autoencoder. Every figure
    has its N, and its interval where subjects suffice, or the reason why it cannot be had. Writes
    metrics.json and index.html, which stands alone. A killed run is resumed by the same command, and what it learned
    of the real images serves the next (RUN/.cache).

    With --real three distances instead: of the samples to RUN's own held-out images, of the samples to those of another
    data set, and of the own images to these, so that the model's error and the gap between the data sets are told
    apart. Data that was prepared with other settings is refused.
    """
    return _evaluate


def _evaluate(*run: Any, split: str, extrapolation: bool, real: str | None, **asked: Any) -> Published:
    """The stage that is asked for."""
    if real is None:
        from mrigen.stages.evaluate import evaluate_run

        if split == "all":
            raise InputError("--split all goes with --real only: a model is not judged by the images it was trained on")
        return evaluate_run(*run, split=split, extrapolation=extrapolation, **asked)
    from mrigen.stages.external import external_run

    if extrapolation:
        raise InputError("--extrapolation does not go with --real")
    return external_run(*run, real=input_folder(real, "--real"), split=split, **asked)
