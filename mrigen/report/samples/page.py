"""The page beside a generated data set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mrigen.labels import Cell, Modality, Pathology
from mrigen.report.rendering import embedded_slice, render
from mrigen.report.sheets import Slice

SHOWN_PER_CELL = 4
"""Images of a cell on the contact sheet of a page."""


def samples_page(
    *,
    title: str,
    images: Mapping[Cell, Sequence[Slice]],
    untrained: Collection[Cell],
    counts: Mapping[Cell, int],
    facts: Mapping[str, str],
    plane: str = "axial",
) -> str:
    """The page beside a generated data set, as HTML.

    `images` are a few (X, Y) slices a cell, values in [-1, 1]; `counts` is how many the data set holds;
    `facts` (model hash, seed, sampler, ...) are listed in their order, the one named `Command` as code.
    """
    rows = []
    for pathology in Pathology:
        cells = [Cell(pathology, modality) for modality in Modality]
        tiles = [
            {
                "modality": str(cell.modality),
                "images": [embedded_slice(image, synthetic=True) for image in images.get(cell, ())[:SHOWN_PER_CELL]],
                "untrained": cell in untrained and counts.get(cell, 0) > 0,
                "count": counts.get(cell, 0),
            }
            for cell in cells
        ]
        rows.append({"pathology": str(pathology), "tiles": tiles, "total": sum(counts.get(cell, 0) for cell in cells)})
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
    )
