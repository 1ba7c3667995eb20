"""`mrigen phantom`: the embedded phantom cohort as a BIDS tree, on Ray Data."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import click

from jobs.options import output_location
from jobs.placement import Placement, connect, cpu_worker_options
from mrigen.storage import Location


@click.command("phantom")
@click.argument("out")
@click.option("--subjects", type=click.IntRange(1, 9999), required=True, help="Subjects, a quarter of each pathology.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the cohort.")
@click.option(
    "--spacing-mm", type=click.FloatRange(1.0, 8.0), default=2.4, show_default=True, help="Size of the cubic voxels."
)
@cpu_worker_options
def command(out: str, subjects: int, seed: int, spacing_mm: float, address: str | None, num_workers: int) -> None:
    """Write phantom subjects to the folder OUT as a BIDS tree: simulated brains, no scans of people.

    Four pathologies in turn, each subject in five modalities with its lesion mask and the label of every voxel.
    participants.tsv tells the age and what was measured: volumes of brain, ventricles, hippocampi and each kind of
    lesion, number of lesions, midline shift; participants.json describes the columns. The same seed gives the same
    bytes on any number of workers. A killed run is finished, and a cohort enlarged, by calling again.
    """
    from jobs.tasks import run_tasks
    from mrigen.phantom.tree import close_tree, open_tree

    folder = output_location(out)
    open_tree(folder, subjects, seed, spacing_mm)
    connect(address)
    make_work = functools.partial(_make_work, folder, seed, spacing_mm)
    tasks = [{"index": index} for index in range(subjects)]
    participants = list(run_tasks(make_work, tasks, Placement(num_workers), "phantom subjects", shared=False))
    close_tree(folder, participants)
    made = sum(row["made"] for row in participants)
    counts = Counter(row["pathology"] for row in participants)
    told = ", ".join(f"{count} {pathology}" for pathology, count in sorted(counts.items()))
    click.echo(f"{subjects} phantom subjects ({told}), {made} made now")
    click.echo(f"BIDS tree: {folder}")


def _make_work(out: Location, seed: int, spacing_mm: float) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: write a subject; its row of the table of participants."""
    from mrigen.phantom.tree import write_subject

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        return write_subject(out, int(task["index"]), seed, spacing_mm)

    return work
