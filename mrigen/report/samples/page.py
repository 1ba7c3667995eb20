"""The page beside a generated data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from mrigen.cohort.plan import CohortPlan
from mrigen.cohort.shard import manifest_part
from mrigen.labels import Cell, Modality, Pathology
from mrigen.model_folder.card import trained_on
from mrigen.records import read_file, tensor_numpy
from mrigen.report.rendering import render, tile_rows
from mrigen.report.sheets import Slice, contact_sheet_png
from mrigen.storage import Location

PAGE = "index.html"
_SHEET = "contact_sheet.png"
SHOWN = (PAGE, _SHEET)
"""Files to look at, beside a data set."""
SHOWN_PER_CELL = 4
"""Images of a cell on the contact sheet of a page."""


def samples_page(
    *,
    title: str,
    images: Mapping[Cell, Sequence[Slice]],
    untrained: Collection[Cell],
    counts: Mapping[Cell, int],
    facts: Mapping[str, str],
    plane: str,
    sources: Collection[str],
) -> str:
    """The page beside a generated data set, as HTML.

    `images` are a few (X, Y) slices a cell, values in [-1, 1]; `counts` is how many the data set holds;
    `facts` (model hash, seed, sampler, ...) are listed in their order, the one named `Command` as code; `sources` are
    those of the model's training images.
    """
    shown = {cell: some[:SHOWN_PER_CELL] for cell, some in images.items()}
    rows = tile_rows(shown, counts, synthetic=True, untrained=untrained)
    return render(
        "samples/page.html",
        plane=plane,
        title=title,
        rows=[row for row in rows if row["total"]],
        modalities=[str(modality) for modality in Modality],
        modality_totals=[sum(counts.get(Cell(p, m), 0) for p in Pathology) for m in Modality],
        total=sum(counts.values()),
        num_cells=sum(count > 0 for count in counts.values()),
        num_untrained=sum(count > 0 and cell in untrained for cell, count in counts.items()),
        shortened=any(count > SHOWN_PER_CELL for count in counts.values()),
        per_cell=SHOWN_PER_CELL,
        facts=facts,
        trained_on=trained_on(sources),
    )


def write_samples_page(
    plan: CohortPlan,
    trained: Mapping[Cell, bool],
    folder: Location,
    command: str | None,
    slice_plane: str,
    sources: Collection[str],
) -> None:
    """Write `index.html` and `contact_sheet.png` of a filled data set."""
    images, counts = _first_images(plan, folder), plan.counts
    untrained = [cell for cell in counts if not trained[cell]]
    facts = {
        "Model (SHA-256)": plan.model_sha256,
        "Seed": str(plan.seed),
        "Sampler": str(plan.sampler),
        "Slice height": "drawn for each sample" if plan.slice_mm is None else f"{plan.slice_mm:g} mm",
        **({"Command": command} if command else {}),
    }
    html = samples_page(
        title="Synthetic brain MRI",
        images=images,
        untrained=untrained,
        counts=counts,
        facts=facts,
        plane=slice_plane,
        sources=sources,
    )
    (folder / PAGE).write_bytes(html.encode())
    sheet = contact_sheet_png({cell: shown[:1] for cell, shown in images.items()}, untrained, plane=slice_plane)
    (folder / _SHEET).write_bytes(sheet)


def _first_images(plan: CohortPlan, folder: Location) -> dict[Cell, list[Slice]]:
    """The first few images of every cell, from the shards that hold them."""
    images: dict[Cell, list[Slice]] = defaultdict(list)
    for shard in plan.first_shards(SHOWN_PER_CELL):
        table = read_file(manifest_part(folder, shard), ["pathology", "modality", "image"])
        pixels = tensor_numpy(table["image"])
        for row, image in zip(table.select(["pathology", "modality"]).to_pylist(), pixels, strict=True):
            cell = Cell(Pathology(row["pathology"]), Modality(row["modality"]))
            if len(images[cell]) < SHOWN_PER_CELL:
                images[cell].append(image)
    return dict(images)
