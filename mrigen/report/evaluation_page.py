"""The page of an evaluation: the verdict, the figures with plots, and real images above generated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mrigen.config import Config
from mrigen.metrics.comparison import MAX_IMAGES, MIN_IMAGES
from mrigen.metrics.figure import Figure
from mrigen.metrics.image_quality import ms_ssim_betas
from mrigen.metrics.infinity import NUM_SIZES
from mrigen.metrics.kernel import MIN_UNITS
from mrigen.metrics.plan import Group
from mrigen.metrics.precision import NUM_NEIGHBOURS
from mrigen.metrics.resampling import MIN_OWNERS
from mrigen.metrics.scopes import Kind
from mrigen.metrics.summary import Evaluation, Row
from mrigen.report.figures import figure_text, interval_text, p_text
from mrigen.report.plots import error_map_plot, interval_plot
from mrigen.report.rendering import data_uri, embedded_slice, render
from mrigen.report.verdict import verdict

_COLUMNS = {
    "kid": "KID",
    "fid": "FID",
    "fid_infinity": "FID at infinity",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
}
_QUALITY = {
    "autoencoder-quality/psnr_db": "PSNR, dB",
    "autoencoder-quality/ssim": "SSIM",
    "autoencoder-quality/mae": "Absolute error",
    "autoencoder-quality/lesion_mae": "Error in lesions",
}
_WIDE = (Kind.OVERALL, Kind.PATHOLOGY, Kind.MODALITY)


def report_page(
    *, title: str, evaluation: Evaluation, config: Config, notices: Sequence[str], facts: Mapping[str, str]
) -> str:
    """As HTML. `notices` come before all else; `facts` are listed as in `samples_page`."""
    notes = _Notes()
    tables = [_distribution_tables(evaluation, name, notes) for name in config.evaluation.extractors]
    return render(
        "report.html",
        plane=config.data.plane,
        title=title,
        split=evaluation.split,
        notices=notices,
        verdict=verdict(evaluation),
        distribution=tables,
        plots=[_uri(plot) for plot in _distance_plots(evaluation)],
        diversity=_table(
            evaluation.rows,
            {"diversity/ms_ssim_generated": "MS-SSIM, generated", "diversity/ms_ssim_real": "MS-SSIM, real"},
            notes,
        ),
        quality=_table(evaluation.rows, _QUALITY, notes),
        error_maps=_uri(error_map_plot(evaluation.error_maps)),
        reasons=notes.reasons,
        any_untrained=any(row.scope.untrained for row in evaluation.rows),
        pictures=_pictures(evaluation),
        settings=config.evaluation,
        image_size=config.data.image_size,
        num_scales=len(ms_ssim_betas(config.data.image_size)),
        limits={
            "images": MIN_IMAGES,
            "owners": MIN_OWNERS,
            "units": MIN_UNITS,
            "neighbours": NUM_NEIGHBOURS,
            "all_pairs": MAX_IMAGES,
            "sizes": NUM_SIZES,
        },
        facts=facts,
    )


class _Notes:
    """The reasons for missing figures, each once, in the order in which they first come up."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def number(self, reason: str) -> int:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason) + 1

    def shown(self, name: str, figure: Figure) -> dict[str, Any]:
        return {
            "text": figure_text(name, figure),
            "interval": interval_text(name, figure),
            "p": p_text(figure),
            "n": figure.n,
            "note": self.number(figure.reason) if figure.reason is not None else None,
        }


def _distribution_tables(evaluation: Evaluation, extractor: str, notes: _Notes) -> dict[str, Any]:
    """What one extractor says: a table of what is pooled, and one of the cells."""
    tables = {"extractor": extractor, "reason": None}
    if extractor not in evaluation.extractors:
        return {**tables, "reason": evaluation.rows[0].figures[f"{extractor}/kid"].reason}
    wide = {f"{extractor}/{name}": title for name, title in _COLUMNS.items()}
    narrow = {f"{extractor}/{name}": title for name, title in _COLUMNS.items() if name != "fid_infinity"}
    return {
        **tables,
        "pooled": _table(evaluation.of_kind(*_WIDE), wide, notes),
        "cells": _table(evaluation.of_kind(Kind.CELL), narrow, notes),
    }


def _table(rows: Sequence[Row], columns: Mapping[str, str], notes: _Notes) -> dict[str, Any]:
    """Rows of figures, each with its floor where it has one; with the N that all figures of a row share, if they do."""
    shown = []
    for row in rows:
        floors = [row.figures.get(f"{name}_floor") for name in columns]
        numbers = {f.n for f in (*(row.figures[name] for name in columns), *floors) if f and f.value is not None}
        shown.append(
            {
                "name": row.name,
                "kind": str(row.scope.kind),
                "marked": row.scope.untrained and row.scope.kind == Kind.CELL,
                "images": row.images,
                "n": numbers.pop() if len(numbers) == 1 else None,
                "figures": [
                    {**notes.shown(name, row.figures[name]), "floor": notes.shown(name, floor) if floor else None}
                    for name, floor in zip(columns, floors, strict=True)
                ],
            }
        )
    return {"titles": list(columns.values()), "rows": shown}


def _distance_plots(evaluation: Evaluation) -> list[bytes | None]:
    plots = []
    cells = evaluation.of_kind(Kind.CELL)
    if evaluation.extractors:
        kids = [(f"KID, {name}", f"{name}/kid", f"{name}/kid_floor") for name in evaluation.extractors]
        plots.append(interval_plot(cells, kids))
        lead = evaluation.extractors[0]
        names = ("precision", "recall", "coverage")
        panels = [(f"{name.capitalize()}, {lead}", f"{lead}/{name}", f"{lead}/{name}_floor") for name in names]
        plots.append(interval_plot(evaluation.of_kind(*_WIDE), panels))
    plots.append(interval_plot(cells, [("MS-SSIM", "diversity/ms_ssim_generated", "diversity/ms_ssim_real")]))
    return plots


def _pictures(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    pictures: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation.of_kind(Kind.CELL):
        cell = row.scope.cell
        assert cell is not None
        real, generated = (
            [
                embedded_slice(image, synthetic=group == Group.GENERATED)
                for image in evaluation.pictures.get((group, cell), ())
            ]
            for group in (Group.HELD_OUT, Group.GENERATED)
        )
        if real or generated:
            pair = {"name": str(cell.modality), "untrained": row.scope.untrained, "real": real, "generated": generated}
            pictures.setdefault(str(cell.pathology), []).append(pair)
    return pictures


def _uri(png: bytes | None) -> str | None:
    return None if png is None else data_uri(png)
