"""From a template and values to a page that stands alone."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jinja2

from mrigen import __version__
from mrigen.labels import Cell, Modality, Pathology
from mrigen.report.sheets import ORIENTATION_TEXTS, UNTRAINED_TEXT, Slice, slice_png


def data_uri(png: bytes) -> str:
    """A PNG as a URI that holds it, for `src`."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def embedded_slice(image: Slice, *, synthetic: bool) -> str:
    """A slice as a URI; a synthetic one says so in the PNG's text."""
    return data_uri(slice_png(image, synthetic=synthetic))


def tile_rows(
    images: Mapping[Cell, Sequence[Slice]],
    counts: Mapping[Cell, int],
    *,
    synthetic: bool,
    untrained: Collection[Cell] = (),
) -> list[dict[str, Any]]:
    """A row for each pathology with a tile for each modality: the images to show, and how many there are in all."""
    rows = []
    for pathology in Pathology:
        cells = [Cell(pathology, modality) for modality in Modality]
        tiles = [
            {
                "modality": str(cell.modality),
                "images": [embedded_slice(image, synthetic=synthetic) for image in images.get(cell, ())],
                "untrained": cell in untrained and counts.get(cell, 0) > 0,
                "count": counts.get(cell, 0),
            }
            for cell in cells
        ]
        rows.append({"pathology": str(pathology), "tiles": tiles, "total": sum(counts.get(cell, 0) for cell in cells)})
    return rows


def render(template: str, *, plane: str | None = None, **values: Any) -> str:
    """Fill a template of this folder; every value that it names must be given. `plane` is that of the slices shown,
    which a template that says how they lie must be given too."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mrigen", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    sources = [environment.loader.get_source(environment, name)[0] for name in ("palette.css", "style.css")]
    return environment.get_template(template).render(
        version=__version__,
        style="".join(sources),
        untrained_text=UNTRAINED_TEXT,
        **({"orientation": ORIENTATION_TEXTS[plane]} if plane else {}),
        **values,
    )
