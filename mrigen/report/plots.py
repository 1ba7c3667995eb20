"""The plots of an evaluation's report, as PNG; the same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from PIL import Image

from mrigen.labels import Modality
from mrigen.metrics.gathering import Slice
from mrigen.metrics.summary import Row

GENERATED, REAL, FAINT = "#d1495b", "#3b82c4", "#9aa3b2"
"""Colours that stay apart in most kinds of colour blindness, beside different marks."""


def interval_plot(rows: Sequence[Row], panels: Sequence[tuple[str, str, str]]) -> bytes | None:
    """One line a row, one panel for each (title, figure of generated images, figure of real ones): dots with their
    intervals. None where no figure has a value."""
    shown = [row for row in rows if any(row.figures[name].value is not None for p in panels for name in p[1:])]
    if not shown:
        return None
    plot = Plot(figsize=(3.6 * len(panels) + 1.4, 0.27 * len(shown) + 1.3), dpi=110, layout="constrained")
    for axes, (title, made, real) in zip(
        plot.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        _dots(axes, shown, real, REAL, "s", +0.16, "real against real")
        _dots(axes, shown, made, GENERATED, "o", -0.16, "generated")
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", color="#e3e6ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
    axes = plot.axes[0]
    axes.set_yticks(range(len(shown)), [row.name + (" *" if row.scope.untrained else "") for row in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    handles, labels = axes.get_legend_handles_labels()
    plot.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return _png(plot)


def _dots(axes: Axes, rows: Sequence[Row], name: str, color: str, mark: str, offset: float, label: str) -> None:
    for place, row in enumerate(rows):
        figure = row.figures[name]
        if figure.value is None:
            continue
        if figure.low is not None and figure.high is not None:
            axes.plot([figure.low, figure.high], [place + offset] * 2, color=color, linewidth=1.6, alpha=0.55)
        axes.plot([figure.value], [place + offset], mark, color=color, markersize=4.5)
    axes.plot([], [], mark, color=color, markersize=4.5, label=label)


def error_map_plot(maps: Mapping[Modality, Slice]) -> bytes | None:
    """The mean absolute error at each pixel, modality by modality on one scale; None where there is no map."""
    if not maps:
        return None
    plot = Plot(figsize=(2.1 * len(maps) + 0.7, 2.5), dpi=110, layout="constrained")
    peak = max(float(image.max()) for image in maps.values())
    panels = plot.subplots(1, len(maps), squeeze=False)[0]
    for axes, (modality, image) in zip(panels, maps.items(), strict=True):
        shown = axes.imshow(image.T, origin="lower", cmap="magma", vmin=0.0, vmax=peak, interpolation="nearest")
        axes.set_title(str(modality), fontsize=10)
        axes.set_axis_off()
    bar = plot.colorbar(shown, ax=list(panels), shrink=0.8, pad=0.01)
    bar.ax.tick_params(labelsize=8)
    return _png(plot)


def _png(plot: Plot) -> bytes:
    """Without a colour for each shade of an edge: a quarter of the size."""
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png", metadata={"Software": None})
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
