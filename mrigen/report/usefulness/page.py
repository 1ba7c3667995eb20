"""The page of the study of usefulness: the verdict, a plot, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Plot

from mrigen.report.figure_text import Notes
from mrigen.report.plots import COLOURS, FAINT, level, line, png_with_legend, tidy
from mrigen.report.rendering import data_uri, render
from mrigen.report.usefulness.words import usefulness_verdict
from mrigen.studies.usefulness.images import TrainedOn
from mrigen.studies.usefulness.summary import ALL, Arm, Usefulness

_NAMES = {TrainedOn.REAL: "Real images", TrainedOn.SYNTHETIC: "Synthetic images", TrainedOn.BOTH: "Both"}


def usefulness_page(title: str, study: Usefulness, notices: Sequence[str], facts: Mapping[str, str]) -> str:
    """As HTML. `notices` come before all else; `facts` are listed at the end."""
    notes = Notes()
    rows = [
        {
            "trained_on": _NAMES[arm.on],
            "subjects": arm.num_real_subjects,
            "real": arm.num_real_images,
            "made": arm.num_synthetic_images,
            "accuracy": [notes.shown(name, arm.accuracy[name]) for name in study.modalities],
            "gain": [notes.shown(name, arm.gain[name], signed=True) for name in study.modalities if arm.gain],
        }
        for arm in study.arms
    ]
    return render(
        "usefulness/page.html",
        title=title,
        study=study,
        verdict=usefulness_verdict(study),
        num_test_images=study.arms[0].accuracy[ALL].n,
        rows=rows,
        plot=data_uri(accuracy_plot(study)),
        reasons=notes.reasons,
        notices=notices,
        facts=facts,
    )


def accuracy_plot(study: Usefulness) -> bytes:
    """Balanced accuracy against the number of real subjects: a panel for all modalities and one for each."""
    columns = min(3, len(study.modalities))
    num_rows = -(-len(study.modalities) // columns)
    plot = Plot(figsize=(3.4 * columns, 2.7 * num_rows + 0.5), dpi=110, layout="constrained")
    panels = plot.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, name in zip(panels, study.modalities, strict=False):
        for on, colour, mark in ((TrainedOn.REAL, COLOURS[0], "s"), (TrainedOn.BOTH, COLOURS[1], "o")):
            arms = _arms(study, on)
            figures = [arm.accuracy[name] for arm in arms]
            line(axes, [arm.num_real_subjects for arm in arms], figures, colour, mark, _NAMES[on])
        level(axes, _arms(study, TrainedOn.SYNTHETIC)[0].accuracy[name], COLOURS[2], "Synthetic images alone")
        axes.axhline(study.chance(name), color=FAINT, linestyle=":", linewidth=1.2, label="a guess")
        axes.set_xscale("log")
        amounts = sorted({arm.num_real_subjects for arm in study.arms if arm.num_real_subjects})
        axes.set_xticks(amounts, [str(amount) for amount in amounts])
        axes.minorticks_off()
        tidy(axes, name)
    for axes in panels[len(study.modalities) :]:
        axes.set_visible(False)
    plot.supxlabel("real training subjects", fontsize=9)
    return png_with_legend(plot)


def _arms(study: Usefulness, on: TrainedOn) -> list[Arm]:
    return [arm for arm in study.arms if arm.on == on]
