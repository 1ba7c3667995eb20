"""The plots of an evaluation's report, as PNG; the same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from PIL import Image

from mrigen.evaluation.described_cells import Slice
from mrigen.evaluation.extrapolation import FLOOR, GENERATED, HEALTHY, NEAREST, Extrapolation
from mrigen.evaluation.summary import ScopeRow
from mrigen.labels import Modality
from mrigen.metrics.figure import Figure
from mrigen.report.plots import BLUE, BROWN, FAINT, GRID, RED, png, tidy

_ANSWERS = {
    NEAREST: ("lazy: same pathology, nearest modality", FAINT, "D"),
    HEALTHY: ("lazy: same modality, healthy", BROWN, "^"),
    FLOOR: ("real images of the cell", BLUE, "s"),
    GENERATED: ("generated", RED, "o"),
}


def interval_plot(
    rows: Sequence[ScopeRow], panels: Sequence[tuple[str, str, str]], *, real_label: str = "real against real"
) -> bytes | None:
    """One line a row, one panel for each (title, figure of generated images, figure of real ones): dots with their
    intervals. None where no figure has a value."""
    shown = [row for row in rows if any(row.figures[name].value is not None for p in panels for name in p[1:])]
    if not shown:
        return None
    plot = Plot(figsize=(3.6 * len(panels) + 1.4, 0.27 * len(shown) + 1.3), dpi=110, layout="constrained")
    for axes, (title, made, real) in zip(
        plot.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        dots(axes, [row.figures[real] for row in shown], BLUE, "s", +0.16, real_label)
        dots(axes, [row.figures[made] for row in shown], RED, "o", -0.16, "generated")
        tidy(axes, title, lines=True)
    return named_lines(plot, [row.name + (" *" if row.scope.untrained else "") for row in shown])


def answers_plot(found: Extrapolation) -> bytes | None:
    """One line a cell, unseen ones first: KID of every answer by the leading extractor, with its interval. None where
    no answer has a value."""
    figure = f"{found.extractors[0]}/kid"
    ordered = sorted(found.scores, key=lambda score: not score.unseen)
    shown = [score for score in ordered if any(score.figures[name][figure].value is not None for name in _ANSWERS)]
    if not shown:
        return None
    plot = Plot(figsize=(8.6, 0.5 * len(shown) + 1.5), dpi=110, layout="constrained")
    axes = plot.subplots()
    for offset, (name, (label, colour, mark)) in zip((0.3, 0.1, -0.1, -0.3), _ANSWERS.items(), strict=True):
        dots(axes, [score.figures[name][figure] for score in shown], colour, mark, offset, label)
    for place in range(1, len(shown)):
        axes.axhline(place - 0.5, color=GRID, linewidth=0.8)
    tidy(axes, f"KID, {found.extractors[0]}", lines=True)
    return named_lines(plot, [str(score.cell) + (" *" if score.unseen else "") for score in shown])


def dots(axes: Axes, figures: Sequence[Figure], colour: str, mark: str, offset: float, label: str) -> None:
    """A dot a line for every figure that has a value."""
    for place, figure in enumerate(figures):
        if figure.value is None:
            continue
        if figure.interval:
            axes.plot(figure.interval, [place + offset] * 2, color=colour, linewidth=1.6, alpha=0.55)
        axes.plot([figure.value], [place + offset], mark, color=colour, markersize=4.5)
    axes.plot([], [], mark, color=colour, markersize=4.5, label=label)


def named_lines(plot: Plot, names: Sequence[str]) -> bytes:
    """The plot with its lines named from the top down, and the legend."""
    axes = plot.axes[0]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    handles, labels = axes.get_legend_handles_labels()
    plot.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return _small_png(plot)


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
    return _small_png(plot)


def _small_png(plot: Plot) -> bytes:
    """Without a colour for each shade of an edge: a quarter of the size."""
    small = io.BytesIO()
    Image.open(io.BytesIO(png(plot))).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    return small.getvalue()
