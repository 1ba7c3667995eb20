"""How many images each cell needs for an interval of a wished width, on the page of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure as Plot
from matplotlib.ticker import LogLocator

from mrigen.evaluation.summary import Evaluation, ScopeRow
from mrigen.images.scopes import ScopeKind
from mrigen.labels import Modality, Pathology
from mrigen.metrics.kernel import SIDES, TIMES, width_name
from mrigen.report.plots import png, tidy
from mrigen.report.rendering import data_uri

Curve = Sequence[tuple[int, float]]
"""Numbers of images, rising, and the width of the interval that they give."""


def width_section(evaluation: Evaluation) -> dict[str, Any] | None:
    """The plot of widths against N, and of every cell how many images it takes; None where no cell has an interval."""
    if not evaluation.extractors:
        return None
    lead = evaluation.extractors[0]
    cells = [row for row in evaluation.of_kind(ScopeKind.CELL) if f"{lead}/{width_name('both', 1.0)}" in row.figures]
    if not cells:
        return None
    rows = []
    for row in cells:
        now = row.figures[f"{lead}/{width_name('both', 1.0)}"]
        width = now.value or 0.0
        wished = [width / 2, abs(row.figures[f"{lead}/kid"].value or 0.0)]
        needed = [images_for(_curve(row, lead, side), wish) for wish in wished for side in SIDES]
        subjects = row.images["held_out_subjects"]
        rows.append({"name": row.name, "n": now.n, "subjects": subjects, "width": f"{width:.3g}", "needed": needed})
    return {"plot": data_uri(_plot(cells, lead)), "rows": rows, "extractor": lead}


def images_for(curve: Curve, width: float) -> str:
    """The number of images at which a curve comes down to a width, between its points by a power law."""
    if not curve or width <= 0 or curve[-1][1] > width:
        return f"more than {curve[-1][0]:,}" if curve else ""
    if curve[0][1] <= width:
        return f"at most {curve[0][0]:,}"
    above = max(place for place, (_, value) in enumerate(curve) if value > width)
    (low, wide), (high, narrow) = curve[above], curve[above + 1]
    share = math.log(wide / width) / math.log(wide / narrow)
    return f"{math.ceil(low * (high / low) ** share - 1e-9):,}"


def _curve(row: ScopeRow, lead: str, side: str) -> Curve:
    found = (row.figures.get(f"{lead}/{width_name(side, times)}") for times in TIMES)
    return [(figure.n, figure.value) for figure in found if figure is not None and figure.value]


def _plot(cells: Sequence[ScopeRow], lead: str) -> bytes:
    """A panel for each pathology, a colour for each modality."""
    shown = [one for one in Pathology if any(row.scope.cells[0].pathology is one for row in cells)]
    plot = Plot(figsize=(2.9 * len(shown) + 1.2, 3.1), dpi=110, layout="constrained")
    panels = plot.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, pathology in zip(panels, shown, strict=True):
        for row in (row for row in cells if row.scope.cells[0].pathology is pathology):
            colour = f"C{list(Modality).index(row.scope.cells[0].modality)}"
            for side, line in zip(SIDES, ("-", ":"), strict=True):
                axes.loglog(*zip(*_curve(row, lead, side), strict=True), line, color=colour, linewidth=1.4)
            now = row.figures[f"{lead}/{width_name('both', 1.0)}"]
            axes.plot([now.n], [now.value], "o", color=colour, markersize=4)
        axes.set_xlabel("generated images", fontsize=8)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:.2g}")
        axes.yaxis.set_minor_formatter("")
        tidy(axes, str(pathology))
    panels[0].set_ylabel("width of the interval of KID", fontsize=8)
    for place, modality in enumerate(Modality):
        if any(row.scope.cells[0].modality is modality for row in cells):
            panels[0].plot([], [], color=f"C{place}", label=str(modality))
    panels[0].plot([], [], "-", color="grey", label="more of both sides")
    panels[0].plot([], [], ":", color="grey", label="more generated images alone")
    plot.legend(loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    return png(plot)
