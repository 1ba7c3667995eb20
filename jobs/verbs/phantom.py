"""`mrigen phantom`: the embedded phantom cohort as a BIDS tree, on Ray Data."""

from __future__ import annotations

import click

from jobs.options import cpu_worker_options, output_location
from jobs.placement import Placement


@click.command("phantom")
@click.argument("out")
@click.option("--subjects", type=click.IntRange(1, 9999), required=True, help="Subjects, a quarter of each pathology.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the cohort.")
@click.option(
    "--spacing-mm", type=click.FloatRange(1.0, 8.0), default=2.4, show_default=True, help="Size of the cubic voxels."
)
@click.option("--site", type=click.IntRange(0, 9999), default=0, help="Number of a site: a scanner and its people.")
@cpu_worker_options
def command(out: str, subjects: int, seed: int, spacing_mm: float, site: int, placement: Placement) -> None:
    """Write phantom subjects to the folder OUT as a BIDS tree: simulated brains, no scans of people.

    Four pathologies in turn, each subject in five modalities with its lesion mask and the label of every voxel.
    participants.tsv tells the age and what was measured: volumes of brain, ventricles, hippocampi and each kind of
    lesion, number of lesions, midline shift; participants.json describes the columns. The same seed gives the same
    bytes on any number of workers. A killed run is finished, and a cohort enlarged, by calling again.

    With --site, the subjects are those of one of many hospitals, whose number alone decides what its scanner does
    to contrast, noise, bias field and sharpness, and who comes there. One OUT holds one site.
    """
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.phantom import phantom_run

    folder = output_location(out)
    each = EachOnRay(placement)
    cohort = phantom_run(folder, each, subjects=subjects, seed=seed, spacing_mm=spacing_mm, site=site)
    told = ", ".join(f"{count} {pathology}" for pathology, count in sorted(cohort.counts.items()))
    click.echo(f"{subjects} phantom subjects ({told}), {cohort.num_made} made now")
    click.echo(f"BIDS tree: {folder}")
