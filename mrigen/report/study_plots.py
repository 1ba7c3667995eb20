"""What the pages of the studies share: figures as table cells with numbered reasons, and lines with intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from mrigen.metrics.figure import Figure
from mrigen.report import palette

COLOURS, FAINT = (palette.BLUE, palette.RED, palette.YELLOW), palette.FAINT


class Reasons:
    """The reasons for missing figures, each once, in the order in which they first come up."""

    def __init__(self) -> None:
        self.listed: list[str] = []

    def shown(self, figure: Figure, *, signed: bool = False) -> dict[str, Any]:
        """A figure as the templates' macro takes it."""
        if figure.value is None:
            reason = figure.reason or ""
            if reason not in self.listed:
                self.listed.append(reason)
            return {"text": None, "interval": None, "n": figure.n, "note": self.listed.index(reason) + 1}
        sign = "+" if signed else ""
        ends = None
        if figure.low is not None and figure.high is not None:
            ends = f"{_rounded(figure.low):{sign}.3f} to {_rounded(figure.high):{sign}.3f}"
        return {"text": f"{_rounded(figure.value):{sign}.3f}", "interval": ends, "n": figure.n, "note": None}


def _rounded(value: float) -> float:
    return round(value, 3) + 0.0  # no -0.000


def line(axes: Axes, places: Sequence[float], figures: Sequence[Figure], colour: str, mark: str, label: str) -> None:
    """Figures over their places, with bars for intervals; those without a value are left out."""
    known = [(place, f.value, f.low, f.high) for place, f in zip(places, figures, strict=True) if f.value is not None]
    axes.plot(
        [one[0] for one in known], [one[1] for one in known], marker=mark, color=colour, markersize=4.5, label=label
    )
    for place, _, low, high in known:
        if low is not None and high is not None:
            axes.plot([place, place], [low, high], color=colour, linewidth=1.6, alpha=0.55)


def level(axes: Axes, figure: Figure, colour: str, label: str) -> None:
    """A figure that does not depend on the place: a dashed line with its interval as a band."""
    if figure.value is None:
        return
    axes.axhline(figure.value, color=colour, linestyle="--", linewidth=1.3, label=label)
    if figure.low is not None and figure.high is not None:
        axes.axhspan(figure.low, figure.high, color=colour, alpha=0.12, linewidth=0)


def blank(axes: Axes, figures: Sequence[Figure]) -> None:
    """Where none of the figures of a panel has a value: the reason, in place of scales that would mean nothing."""
    if any(figure.value is not None for figure in figures):
        return
    reason = next((figure.reason for figure in figures if figure.reason), "no figure")
    axes.text(0.5, 0.5, fill(reason, 28), ha="center", va="center", fontsize=9, color=FAINT, transform=axes.transAxes)
    axes.set_yticks([])


def tidy(axes: Axes, title: str) -> None:
    """The look of a panel."""
    axes.set_title(title, fontsize=10)
    axes.grid(color=palette.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def png(plot: Plot) -> bytes:
    """The same plot gives the same bytes."""
    handles, labels = plot.axes[0].get_legend_handles_labels()
    plot.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
