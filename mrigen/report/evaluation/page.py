"""The page of an evaluation: the verdict, the figures with plots, and real images above generated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.config import Config
from mrigen.evaluation.summary import CLINICAL, FIDELITY, Evaluation
from mrigen.images.index import Group
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.accuracy import NUM_BINS
from mrigen.metrics.clinical import DARK_FLUID
from mrigen.metrics.comparison import DISTANCES, MAX_IMAGES, MIN_IMAGES
from mrigen.metrics.image_quality import ms_ssim_betas
from mrigen.metrics.infinity import NUM_SIZES
from mrigen.metrics.kernel import MIN_UNITS
from mrigen.metrics.precision import NUM_NEIGHBOURS
from mrigen.metrics.resampling import MIN_OWNERS, MIN_OWNERS_IN_CELL
from mrigen.report.evaluation.extrapolation import extrapolation_section
from mrigen.report.evaluation.fidelity import fidelity_section
from mrigen.report.evaluation.plots import answers_plot, error_map_plot, interval_plot
from mrigen.report.evaluation.tables import WIDE, Column, figure_table
from mrigen.report.evaluation.verdict import verdict
from mrigen.report.evaluation.widths import width_section
from mrigen.report.figure_text import Notes
from mrigen.report.rendering import data_uri, embedded_slice, render

_DIVERSITY = [
    Column("MS-SSIM, generated", "diversity/ms_ssim_generated"),
    Column("MS-SSIM, real", "diversity/ms_ssim_real"),
]
_CLINICAL = [
    Column(title, f"{CLINICAL}/{name}", f"{CLINICAL}/{name}_real")
    for name, title in {
        "bright_mm2": "Bright area, mm²",
        "bright_share": "Slices with one",
        "pathology_of_bright": "Their pathology named right",
        "ventricle_mm2": "Ventricles, mm²",
    }.items()
]
_QUALITY = [
    Column("PSNR, dB", "autoencoder-quality/psnr_db"),
    Column("SSIM", "autoencoder-quality/ssim"),
    Column("Absolute error", "autoencoder-quality/mae"),
    Column("Error in lesions", "autoencoder-quality/lesion_mae"),
    Column("KID", "autoencoder-quality/kid_restored"),
]


def report_page(
    *, title: str, evaluation: Evaluation, config: Config, notices: Sequence[str], facts: Mapping[str, str]
) -> str:
    """As HTML. `notices` come before all else; `facts` are listed as in `samples_page`."""
    notes, extrapolation = Notes(), evaluation.extrapolation
    tables = [_distribution_tables(evaluation, name, notes) for name in config.evaluation.extractors]
    accuracies = [(f"Accuracy, {target}", f"{FIDELITY}/{target}", f"{FIDELITY}/{target}_real") for target in TARGETS]
    return render(
        "evaluation/page.html",
        plane=config.data.plane,
        title=title,
        split=evaluation.split,
        notices=notices,
        verdict=verdict(evaluation),
        distribution=tables,
        plots=[_uri(plot) for plot in _distance_plots(evaluation)],
        widths=width_section(evaluation),
        diversity=figure_table(evaluation.rows, _DIVERSITY, notes),
        fidelity=fidelity_section(evaluation, notes),
        accuracies=_uri(
            interval_plot(evaluation.of_kind(ScopeKind.CELL), accuracies, real_label="held-out real images")
        ),
        clinical=_clinical_section(evaluation, notes),
        extrapolation=extrapolation_section(extrapolation, notes) if extrapolation else None,
        answers=_uri(answers_plot(extrapolation)) if extrapolation else None,
        quality=figure_table(evaluation.rows, _QUALITY, notes),
        error_maps=_uri(error_map_plot(evaluation.error_maps)),
        reasons=notes.reasons,
        any_untrained=any(row.scope.untrained for row in evaluation.rows),
        pictures=_pictures(evaluation),
        settings=config.evaluation,
        extractors=evaluation.extractors,
        restores=config.codec == "autoencoder",
        grainy=config.autoencoder.network == "conv",
        image_size=config.data.image_size,
        num_scales=len(ms_ssim_betas(config.data.image_size)),
        limits={
            "images": MIN_IMAGES,
            "owners": MIN_OWNERS,
            "owners_in_cell": MIN_OWNERS_IN_CELL,
            "units": MIN_UNITS,
            "neighbours": NUM_NEIGHBOURS,
            "all_pairs": MAX_IMAGES,
            "sizes": NUM_SIZES,
            "bins": NUM_BINS,
        },
        facts=facts,
    )


def _distribution_tables(evaluation: Evaluation, extractor: str, notes: Notes) -> dict[str, Any]:
    """What one extractor says: a table of what is pooled, and one of the cells."""
    tables = {"extractor": extractor, "reason": None}
    if extractor not in evaluation.extractors:
        return {**tables, "reason": evaluation.rows[0].figures[f"{extractor}/kid"].reason}
    columns = [Column(title, f"{extractor}/{name}", f"{extractor}/{name}_floor") for name, title in DISTANCES.items()]
    narrow = [column for column in columns if not column.name.endswith("fid_infinity")]
    return {
        **tables,
        "pooled": figure_table(evaluation.of_kind(*WIDE), columns, notes),
        "cells": figure_table(evaluation.of_kind(ScopeKind.CELL), narrow, notes),
    }


def _clinical_section(evaluation: Evaluation, notes: Notes) -> dict[str, Any]:
    """Areas in the cells whose modality shows them, as a plot and a table; `reason` says why there is none."""
    cells = [row for row in evaluation.of_kind(ScopeKind.CELL) if row.scope.cells[0].modality in DARK_FLUID]
    areas = [(c.title, c.name, c.name + "_real") for c in _CLINICAL if c.name.endswith("mm2")]
    plot = interval_plot(cells, areas, real_label="held-out real images")
    if plot is None:
        return {"reason": cells[0].figures[_CLINICAL[-1].name].reason}
    return {"reason": None, "plot": data_uri(plot), "table": figure_table(cells, _CLINICAL, notes)}


def _distance_plots(evaluation: Evaluation) -> list[bytes | None]:
    plots = []
    cells = evaluation.of_kind(ScopeKind.CELL)
    if evaluation.extractors:
        kids = [(f"KID, {name}", f"{name}/kid", f"{name}/kid_floor") for name in evaluation.extractors]
        plots.append(interval_plot(cells, kids))
        lead = evaluation.extractors[0]
        names = ("precision", "recall", "coverage")
        panels = [(f"{name.capitalize()}, {lead}", f"{lead}/{name}", f"{lead}/{name}_floor") for name in names]
        plots.append(interval_plot(evaluation.of_kind(*WIDE), panels))
    plots.append(interval_plot(cells, [("MS-SSIM", "diversity/ms_ssim_generated", "diversity/ms_ssim_real")]))
    return plots


def _pictures(evaluation: Evaluation) -> dict[str, list[dict[str, Any]]]:
    pictures: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation.of_kind(ScopeKind.CELL):
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
