"""What `generate` and `demo` show at the end: a table on the console."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from mrigen.labels import Cell, Modality, Pathology
from mrigen.stages.generate import Cohort
from mrigen.storage import Location


def print_cohort(cohort: Cohort, folder: Location) -> None:
    """Print the table of samples a cell, and where the data set and its page are."""
    counts, trained, console = cohort.counts, cohort.trained, Console()
    table = Table(title=f"{sum(counts.values())} synthetic images", title_justify="left")
    table.add_column("pathology")
    for modality in Modality:
        table.add_column(str(modality), justify="right")
    for pathology in Pathology:
        cells = [Cell(pathology, modality) for modality in Modality]
        if any(counts.get(cell) for cell in cells):
            numbers = [f"{counts.get(c, 0)}{'' if c in trained or not counts.get(c) else ' *'}" for c in cells]
            table.add_row(str(pathology), *numbers)
    console.print(table)
    if counts.keys() - trained:
        console.print("* never seen in training: composed from the labels alone")
    print(f"data set: {folder}")
    print(f"page:     {cohort.page}")
