"""What `generate` and `demo` show at the end: a page with the contact sheet, and a table on the console."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.table import Table

from mrigen.cohort.plan import CohortPlan
from mrigen.cohort.shard import manifest_part
from mrigen.labels import Cell, Modality, Pathology
from mrigen.records import read_file, tensor_numpy
from mrigen.report.samples.page import SHOWN_PER_CELL, samples_page
from mrigen.report.sheets import contact_sheet_png
from mrigen.storage import Location


def write_page(
    plan: CohortPlan, trained: Mapping[Cell, bool], folder: Location, command: str, slice_plane: str
) -> Location:
    """Write `index.html` and `contact_sheet.png` of a filled data set; gives the page."""
    images = first_images(plan, folder)
    untrained = [cell for cell in plan.cells if not trained[cell]]
    facts = {
        "Model (SHA-256)": plan.model_sha256,
        "Seed": str(plan.seed),
        "Sampler": f"{plan.sampler.solver}, {plan.sampler.num_steps} steps, guidance {plan.sampler.guidance_scale:g}",
        "Slice height": "drawn for each sample" if plan.slice_mm is None else f"{plan.slice_mm:g} mm",
        "Command": command,
    }
    page = folder / "index.html"
    html = samples_page(
        title="Synthetic brain MRI",
        images=images,
        untrained=untrained,
        counts=dict.fromkeys(plan.cells, plan.per_cell),
        facts=facts,
        plane=slice_plane,
    )
    page.write_bytes(html.encode())
    sheet = contact_sheet_png({cell: shown[:1] for cell, shown in images.items()}, untrained, plane=slice_plane)
    (folder / "contact_sheet.png").write_bytes(sheet)
    return page


def first_images(plan: CohortPlan, folder: Location) -> dict[Cell, list[np.ndarray]]:
    """The first few images of every cell, from the shards that hold them."""
    wanted: dict[int, Counter[Cell]] = defaultdict(Counter)
    for number, cell in enumerate(plan.cells):
        for index in range(min(plan.per_cell, SHOWN_PER_CELL)):
            wanted[(number * plan.per_cell + index) // plan.shard_size][cell] += 1
    images: dict[Cell, list[np.ndarray]] = defaultdict(list)
    for shard in sorted(wanted):
        table = read_file(manifest_part(folder, shard), ["pathology", "modality", "index", "image"])
        pixels = tensor_numpy(table["image"])
        for row, image in zip(table.select(["pathology", "modality", "index"]).to_pylist(), pixels, strict=True):
            if row["index"] < SHOWN_PER_CELL:
                images[Cell(Pathology(row["pathology"]), Modality(row["modality"]))].append(image)
    return dict(images)


def print_cohort(counts: Mapping[Cell, int], trained: Mapping[Cell, bool], folder: Location, page: Location) -> None:
    """Print the table of samples a cell, and where the data set and its page are."""
    console = Console()
    table = Table(title=f"{sum(counts.values())} synthetic images", title_justify="left")
    table.add_column("pathology")
    for modality in Modality:
        table.add_column(str(modality), justify="right")
    for pathology in Pathology:
        cells = [Cell(pathology, modality) for modality in Modality]
        if any(counts.get(cell) for cell in cells):
            numbers = [f"{counts.get(c, 0)}{'' if trained[c] or not counts.get(c) else ' *'}" for c in cells]
            table.add_row(str(pathology), *numbers)
    console.print(table)
    if any(counts.get(cell) and not trained[cell] for cell in trained):
        console.print("* never seen in training: composed from the labels alone")
    print(f"data set: {folder}")
    print(f"page:     {page}")
