"""What `prepare` shows at the end: images of each cell, subjects of each split, warnings, files left out."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from mrigen.labels import Cell, Modality, Pathology
from mrigen.sources.preparation import Preparation
from mrigen.storage import Location

SHOWN_REASONS = 5


def print_preparation(preparation: Preparation, kind: str, run: Location) -> None:
    """Print what RUN/data now holds; `kind` says how the source was understood."""
    console = Console()
    table = Table(title=f"{preparation.num_images} images from {kind}", title_justify="left")
    table.add_column("pathology")
    for modality in Modality:
        table.add_column(str(modality), justify="right")
    for pathology in Pathology:
        counts = [preparation.cells[Cell(pathology, modality)] for modality in Modality]
        table.add_row(str(pathology), *(str(count) if count else "-" for count in counts))
    console.print(table)
    for split, subjects in preparation.subjects.items():
        print(f"{split}: {subjects} subjects, {preparation.splits[split]} images")
    empty = [str(cell) for cell, count in preparation.cells.items() if not count]
    if empty:
        print(f"empty cells ({len(empty)}): {', '.join(empty)}")
    if preparation.num_kept:
        print(f"{preparation.num_kept} of {preparation.num_parts} parts stood already and were kept")
    for warning in preparation.warnings():
        print(f"warning: {warning}")
    if preparation.rejected:
        print(f"{len(preparation.rejected)} files left out, listed in {run / 'quarantine' / 'quarantine.parquet'}:")
        for item in preparation.rejected[:SHOWN_REASONS]:
            print(f"  {item.reason}")
        if len(preparation.rejected) > SHOWN_REASONS:
            print(f"  and {len(preparation.rejected) - SHOWN_REASONS} more")
    print(f"images: {run / 'data'}")
