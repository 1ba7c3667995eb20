"""Self-contained HTML pages: what was generated, and how it measures up to real images."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jinja2

from mrigen import __version__
from mrigen.config import Config
from mrigen.labels import Cell, Modality, Pathology
from mrigen.metrics.figure import Figure
from mrigen.metrics.image_quality import ms_ssim_betas
from mrigen.metrics.plan import Group
from mrigen.metrics.summary import Evaluation, Row
from mrigen.report.sheets import ORIENTATION_TEXT, UNTRAINED_TEXT, Slice, slice_png

SHOWN_PER_CELL = 4
"""Images of a cell on the contact sheet of a page."""


def samples_page(
    *,
    title: str,
    images: Mapping[Cell, Sequence[Slice]],
    untrained: Collection[Cell],
    counts: Mapping[Cell, int],
    facts: Mapping[str, str],
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
                "images": [_embedded(image, synthetic=True) for image in images.get(cell, ())[:SHOWN_PER_CELL]],
                "untrained": cell in untrained and counts.get(cell, 0) > 0,
                "count": counts.get(cell, 0),
            }
            for cell in cells
        ]
        rows.append({"pathology": str(pathology), "tiles": tiles, "total": sum(counts.get(cell, 0) for cell in cells)})
    return _render(
        "samples.html",
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


def report_page(
    *, title: str, evaluation: Evaluation, config: Config, notices: Sequence[str], facts: Mapping[str, str]
) -> str:
    """The page of an evaluation, as HTML: its figures with N, or the reasons where there are none, and real images
    above generated ones. `notices` are shown first; `facts` are listed as in `samples_page`."""
    reasons: list[str] = []

    def row_values(row: Row) -> dict[str, Any]:
        figures = []
        for name, figure in row.figures.items():
            if figure.reason is not None and figure.reason not in reasons:
                reasons.append(figure.reason)
            note = reasons.index(figure.reason) + 1 if figure.reason is not None else None
            figures.append({"text": figure_text(name, figure), "n": figure.n, "note": note})
        return {
            "name": row.name,
            "is_cell": row.cell is not None,
            "untrained": row.untrained,
            "images": row.images,
            "figures": figures,
        }

    pictures: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation.cells:
        if row.cell is None:
            continue
        real, generated = (
            [
                _embedded(image, synthetic=group == Group.GENERATED)
                for image in evaluation.pictures.get((group, row.cell), ())
            ]
            for group in (Group.HELD_OUT, Group.GENERATED)
        )
        if real or generated:
            pair = {"name": str(row.cell.modality), "untrained": row.untrained, "real": real, "generated": generated}
            pictures.setdefault(str(row.cell.pathology), []).append(pair)
    return _render(
        "report.html",
        title=title,
        split=evaluation.split,
        notices=notices,
        pooled=[row_values(row) for row in evaluation.pooled],
        cells=[row_values(row) for row in evaluation.cells],
        reasons=reasons,
        any_untrained=any(row.untrained for row in evaluation.cells),
        pictures=pictures,
        feature_size=config.evaluation.feature_size,
        image_size=config.data.image_size,
        num_scales=len(ms_ssim_betas(config.data.image_size)),
        facts=facts,
    )


def figure_text(name: str, figure: Figure) -> str | None:
    """The value as people read it: decibels and FID to a hundredth, similarities to a thousandth."""
    if figure.value is None:
        return None
    return f"{figure.value:.3f}" if "ssim" in name else f"{figure.value:.2f}"


def _embedded(image: Slice, *, synthetic: bool) -> str:
    return "data:image/png;base64," + base64.b64encode(slice_png(image, synthetic=synthetic)).decode("ascii")


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mrigen", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    style, _, _ = environment.loader.get_source(environment, "style.css")
    return environment.get_template(template).render(
        version=__version__,
        style=style,
        orientation=ORIENTATION_TEXT,
        untrained_text=UNTRAINED_TEXT,
        **values,
    )
