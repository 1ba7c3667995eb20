"""The page of a prepared data set: cells, examples, intensities, geometry, and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from mrigen.config import Config
from mrigen.labels import Cell, Modality, Pathology
from mrigen.prepare.histograms import BINS_AFTER, BINS_BEFORE, Histograms
from mrigen.prepare.prepared_data import PreparedData
from mrigen.records import read_file, tensor_numpy
from mrigen.report.data.words import warnings_of
from mrigen.report.plots import BLUE, GREEN, RED, YELLOW, png
from mrigen.report.rendering import data_uri, render, tile_rows
from mrigen.report.sheets import Slice
from mrigen.sources.recognise import FoundScans
from mrigen.storage import Location

PAGE = "data.html"
"""The page's name in the run."""
SHOWN_PER_CELL = 4
SHOWN_REJECTED = 200
SHOWN_GEOMETRIES = 60
SHOWN_REGISTERED = 1000
_LINES = (BLUE, RED, YELLOW, GREEN)
"""Colours of the four pathologies."""


def write_data_page(run: Location, prepared: PreparedData, found: FoundScans, config: Config) -> Location:
    """Write `data.html` of a run that was prepared from what was `found`; gives its place."""
    page = run / PAGE
    html = render(
        "data/page.html",
        plane=config.data.plane,
        title="Training images",
        kinds=[kind for kinds in found.kinds for kind in kinds],
        num_scans=sum(prepared.traits.values()),
        rows=tile_rows(example_images(run / "data", prepared), prepared.cells, synthetic=False),
        modalities=[str(modality) for modality in Modality],
        total=prepared.num_images,
        num_marked=prepared.num_marked,
        num_empty=sum(not count for count in prepared.cells.values()),
        splits=[
            {"name": name, "images": images, "subjects": prepared.subjects[name], "kinds": prepared.by_pathology[name]}
            for name, images in prepared.splits.items()
        ],
        warnings=warnings_of(prepared),
        histograms=data_uri(histogram_png(prepared.histograms)) if prepared.histograms.counts else None,
        geometry=geometry_rows(prepared),
        shown_geometries=SHOWN_GEOMETRIES,
        registered=prepared.registered[:SHOWN_REGISTERED],
        num_registered=len(prepared.registered),
        rejected=prepared.rejected[:SHOWN_REJECTED],
        num_rejected=len(prepared.rejected),
        faults=sorted(Counter(item.fault for item in prepared.rejected).items()),
        data=config.data,
    )
    page.write_bytes(html.encode())
    return page


def example_images(folder: Location, prepared: PreparedData) -> dict[Cell, list[Slice]]:
    """The first few images of every cell, of as many scans as possible; a volume shows its middle slice."""
    images: dict[Cell, dict[str, Slice]] = defaultdict(dict)
    wanted = {cell for cell, count in prepared.cells.items() if count}
    for name in prepared.files:
        if not wanted:
            break
        table = read_file(folder / name, ["pathology", "modality", "slice_mm", "sha256", "image"])
        rows = table.select(["pathology", "modality", "slice_mm", "sha256"]).to_pylist()
        # The slice nearest to the brain's centre shows most.
        for place in sorted(range(len(rows)), key=lambda k: abs(rows[k]["slice_mm"])):
            row = rows[place]
            cell = Cell(Pathology(row["pathology"]), Modality(row["modality"]))
            if cell in wanted and row["sha256"] not in images[cell]:
                image = tensor_numpy(table["image"].slice(place, 1))[0]
                images[cell][row["sha256"]] = image if image.ndim == 2 else image[..., image.shape[2] // 2]
                if len(images[cell]) == SHOWN_PER_CELL:
                    wanted.discard(cell)
    return {cell: list(images[cell].values()) for cell in prepared.cells}


def geometry_rows(prepared: PreparedData) -> list[dict[str, Any]]:
    """Scans by spacing and orientation, the most frequent first, with the cells they are in."""
    counts: Counter[tuple[str, str]] = Counter()
    cells: dict[tuple[str, str], set[Cell]] = defaultdict(set)
    for (cell, spacing, orientation), count in prepared.geometry.items():
        counts[spacing, orientation] += count
        cells[spacing, orientation].add(cell)
    return [
        {
            "spacing": key[0],
            "orientation": key[1],
            "count": count,
            "cells": ", ".join(str(cell) for cell in sorted(cells[key])),
        }
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def histogram_png(histograms: Histograms) -> bytes:
    """Intensities before and after scaling: a column for each modality, a line for each pathology."""
    figure = Figure(figsize=(11, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(Modality), sharey="row", squeeze=False)
    shown = {"before": _occupied(histograms), "after": (-1.05, 1.05)}
    for column, modality in enumerate(Modality):
        for row, (name, edges) in enumerate((("before", BINS_BEFORE), ("after", BINS_AFTER))):
            axis = axes[row, column]
            for pathology, colour in zip(Pathology, _LINES, strict=True):
                counts = histograms.counts.get(Cell(pathology, modality))
                if counts is not None and counts[name].sum():
                    shares = counts[name] / counts[name].sum()
                    axis.stairs(shares, edges, color=colour, linewidth=1.4, label=str(pathology))
            if name == "before":
                axis.set_xscale("log")
                axis.set_title(str(modality), fontsize=10)
            axis.set_xlim(shown[name])
            axis.tick_params(labelsize=7)
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_yticks([])
            axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0, 0].set_ylabel("as in the files", fontsize=9)
    axes[1, 0].set_ylabel("as in the images", fontsize=9)
    lines = {line.get_label(): line for axis in axes.flat for line in axis.patches}
    ordered = [str(pathology) for pathology in Pathology if str(pathology) in lines]
    figure.legend(
        [lines[name] for name in ordered], ordered, loc="outside lower center", ncols=4, fontsize=9, frameon=False
    )
    return png(figure)


def _occupied(histograms: Histograms) -> tuple[float, float]:
    """The range of raw intensities that holds all but a thousandth of them at either end."""
    shares = np.cumsum(sum(counts["before"] for counts in histograms.counts.values()))
    first, last = np.searchsorted(shares, [0.001 * shares[-1], 0.999 * shares[-1]])
    return float(BINS_BEFORE[first]), float(BINS_BEFORE[min(last + 1, len(BINS_BEFORE) - 1)])
