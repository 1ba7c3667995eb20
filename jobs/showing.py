"""What `generate` and `demo` show in the terminal, and the table of cells that `prepare` shows too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from jobs.placement import Placement
from mrigen.cohort.estimate import Estimate
from mrigen.cohort.order import MANY
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.stages.generate import Cohort
from mrigen.storage import Location

MANY_FILES = 1_000_000


def print_cohort(cohort: Cohort, folder: Location) -> None:
    """Print the table of samples a cell, and where the data set and its page are."""

    def told(cell: Cell) -> str:
        count = cohort.counts.get(cell, 0)
        return f"{count}{' *' if count and cell not in cohort.trained else ''}"

    made = [label for label in Pathology if any(cell.pathology is label for cell in cohort.counts)]
    print_table(f"{sum(cohort.counts.values())} synthetic images", made, told)
    if cohort.counts.keys() - cohort.trained:
        print("* never seen in training: composed from the labels alone")
    elif cohort.counts.keys() == cohort.trained != set(all_cells()):
        print("these are the cells that the model was trained on: --allow-untrained makes the others too, marked")
    if cohort.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(cohort.rejected.items()))
        print(f"rejected and drawn anew: {reasons}; left out for good: {cohort.num_left_out} samples")
    if not cohort.has_limits:
        print("note: the model folder does not tell how large and bright its training images are: this was not checked")
    if cohort.was_finished:
        print("it was finished already: nothing was done")
    print(f"data set: {folder}")
    print(f"page:     {cohort.page}")


def print_room(estimate: Estimate, *, dry_run: bool = False) -> None:
    """Print what is to be made, and whether it fits the disk."""
    print(f"to make: {estimate.num_samples} samples{' (dry run: nothing was written)' if dry_run else ''}")
    known = "" if estimate.free_bytes is None else f": {'fits' if estimate.fits else 'DOES NOT FIT'}"
    print(f"disk:    {estimate}{known}")
    if estimate.num_samples >= MANY and "bids" not in estimate.formats:
        print(
            f"format:  {', '.join(estimate.formats)}: BIDS, of four files and folders a sample, is not the default here"
        )
    if estimate.num_samples * estimate.files >= MANY_FILES:
        print("files:   so many are slow to list and to copy: --format webdataset or parquet packs a shard in one")


def print_time(estimate: Estimate, placement: Placement, timed_in: str) -> None:
    """Print how long it takes, on GPUs in GPU hours too, once that was timed."""
    if estimate.seconds is not None:
        of_one = estimate.num_samples * estimate.seconds
        took = f"{timedelta(seconds=round(of_one / placement.num_workers))} with {placement.num_workers} workers"
        on_gpus = f" ({of_one / 3600:.3g} GPU hours)" if placement.use_gpu else ""
        print(f"time:    {took}{on_gpus}, by {estimate.seconds:.3g} s a sample in {timed_in}")


def print_table(title: str, pathologies: Iterable[Pathology], told: Callable[[Cell], str]) -> None:
    """Print what is told of every cell, a line for each pathology."""
    table = Table("pathology", title=title, title_justify="left")
    for modality in Modality:
        table.add_column(str(modality), justify="right")
    for pathology in pathologies:
        table.add_row(str(pathology), *(told(Cell(pathology, modality)) for modality in Modality))
    Console(markup=False).print(table)
