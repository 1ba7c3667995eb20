"""What the plots of pages share: colours, lines with intervals, the look of a panel, and PNG of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from mrigen.metrics.figure import Figure

# Plots lie on white; the colours of pages, light and dark, are variables of `palette.css`.
BLUE, RED, YELLOW, GREEN = "#3b82c4", "#d1495b", "#edae49", "#66a182"
"""Apart on light and on dark ground and in most kinds of colour blindness, beside different marks."""
BROWN = "#b9770e"
FAINT = "#7d8696"
GRID = "#e3e6ec"
COLOURS = (BLUE, RED, YELLOW)


def line(axes: Axes, places: Sequence[float], figures: Sequence[Figure], colour: str, mark: str, label: str) -> None:
    """Figures over their places, with bars for intervals; those without a value are left out."""
    known = [(place, f.value, f.interval) for place, f in zip(places, figures, strict=True) if f.value is not None]
    axes.plot(
        [one[0] for one in known], [one[1] for one in known], marker=mark, color=colour, markersize=4.5, label=label
    )
    for place, _, ends in known:
        if ends:
            axes.plot([place, place], ends, color=colour, linewidth=1.6, alpha=0.55)


def level(axes: Axes, figure: Figure, colour: str, label: str) -> None:
    """A figure that does not depend on the place: a dashed line with its interval as a band."""
    if figure.value is None:
        return
    axes.axhline(figure.value, color=colour, linestyle="--", linewidth=1.3, label=label)
    if figure.interval:
        axes.axhspan(*figure.interval, color=colour, alpha=0.12, linewidth=0)


def blank(axes: Axes, figures: Sequence[Figure]) -> None:
    """Where none of the figures of a panel has a value: the reason, in place of scales that would mean nothing."""
    if any(figure.value is not None for figure in figures):
        return
    reason = next((figure.reason for figure in figures if figure.reason), "no figure")
    axes.text(0.5, 0.5, fill(reason, 28), ha="center", va="center", fontsize=9, color=FAINT, transform=axes.transAxes)
    axes.set_yticks([])


def tidy(axes: Axes, title: str, *, lines: bool = False) -> None:
    """The look of a panel; of one of named `lines` without what would measure its height."""
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x" if lines else "both", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", *(["left"] if lines else [])]].set_visible(False)
    if lines:
        axes.tick_params(axis="y", length=0)


def png(plot: Plot) -> bytes:
    """The same plot gives the same bytes."""
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def png_with_legend(plot: Plot, num_columns: int = 4) -> bytes:
    """The same below a legend, of what the first panel shows."""
    handles, labels = plot.axes[0].get_legend_handles_labels()
    plot.legend(handles, labels, loc="outside upper center", ncols=num_columns, frameon=False, fontsize=9)
    return png(plot)
