"""The page of a reader study's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure as Plot

from mrigen.report.figure_text import Notes
from mrigen.report.plots import COLOURS, FAINT, png, tidy
from mrigen.report.reader_study.words import study_verdict
from mrigen.report.rendering import data_uri, render
from mrigen.studies.reader_study.summary import FIGURES, ReaderStudy


def reader_study_page(title: str, study: ReaderStudy, notices: Sequence[str], facts: Mapping[str, str]) -> str:
    """As HTML. `notices` come before all else; `facts` are listed at the end."""
    notes = Notes()
    rows = [*((f"Reader {reader}", figures) for reader, figures in study.by_reader.items())]
    return render(
        "reader_study/page.html",
        title=title,
        study=study,
        verdict=study_verdict(study),
        readers=[
            (name, [notes.shown(one, figures[one], signed=one == "criterion") for one in FIGURES])
            for name, figures in ([("All readers", study.mean), *rows] if len(rows) > 1 else rows)
        ],
        equal=notes.shown("accuracy", study.equivalence),
        by_cell=[(name, notes.shown("accuracy", figure)) for name, figure in study.by_cell.items()],
        named=[
            (name, [notes.shown(name, figure, signed=kind == "difference") for kind, figure in figures.items()])
            for name, figures in study.named.items()
        ],
        agreement=[(name.capitalize(), notes.shown("kappa", figure)) for name, figure in study.agreement.items()],
        repeats=[
            (name.capitalize(), [notes.shown(one, figure) for one, figure in figures.items()])
            for name, figures in study.repeats.items()
        ],
        plot=data_uri(_roc_plot(study)),
        reasons=notes.reasons,
        notices=notices,
        facts=facts,
    )


def _roc_plot(study: ReaderStudy) -> bytes:
    plot = Plot(figsize=(4.6, 4.4), dpi=110, layout="constrained")
    axes = plot.subplots()
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1.2, label="a guess")
    for place, corners in enumerate(study.roc.values()):
        axes.plot(*corners.T, color=FAINT, linewidth=1.0, alpha=0.7, label="" if place else "one reader")
    mean = np.mean(list(study.roc.values()), axis=0)
    axes.plot(*mean.T, color=COLOURS[0], marker="o", markersize=4, label="mean")
    axes.set_aspect("equal")
    axes.set_xlabel("real images called synthetic", fontsize=9)
    axes.set_ylabel("synthetic images called synthetic", fontsize=9)
    tidy(axes, "ROC, level by level of confidence")
    axes.legend(frameon=False, fontsize=8)
    return png(plot)
