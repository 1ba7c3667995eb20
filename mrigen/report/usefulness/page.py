"""The page of the study of usefulness: the verdict, a plot, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Plot

from mrigen.report.rendering import data_uri, render
from mrigen.report.study_parts import COLOURS, FAINT, Reasons, level, line, png, tidy
from mrigen.studies.usefulness.trainings import ALL, Arm, Kind, Usefulness

_NAMES = {Kind.REAL: "Real images", Kind.SYNTHETIC: "Synthetic images", Kind.BOTH: "Both"}


def usefulness_page(title: str, study: Usefulness, notices: Sequence[str], facts: Mapping[str, str]) -> str:
    """As HTML. `notices` come before all else; `facts` are listed at the end."""
    reasons = Reasons()
    rows = [
        {
            "kind": _NAMES[arm.kind],
            "subjects": arm.num_real_subjects,
            "real": arm.num_real_images,
            "made": arm.num_synthetic_images,
            "accuracy": [reasons.shown(arm.accuracy[name]) for name in study.scopes],
            "gain": [reasons.shown(arm.gain[name], signed=True) for name in study.scopes if arm.gain],
        }
        for arm in study.arms
    ]
    return render(
        "usefulness/page.html",
        title=title,
        study=study,
        num_test_images=study.arms[0].accuracy[ALL].n,
        rows=rows,
        plot=data_uri(accuracy_plot(study)),
        reasons=reasons.listed,
        notices=notices,
        facts=facts,
    )


def accuracy_plot(study: Usefulness) -> bytes:
    """Balanced accuracy against the number of real subjects: a panel for all modalities and one for each."""
    columns = min(3, len(study.scopes))
    num_rows = -(-len(study.scopes) // columns)
    plot = Plot(figsize=(3.4 * columns, 2.7 * num_rows + 0.5), dpi=110, layout="constrained")
    panels = plot.subplots(num_rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, name in zip(panels, study.scopes, strict=False):
        for kind, colour, mark in ((Kind.REAL, COLOURS[0], "s"), (Kind.BOTH, COLOURS[1], "o")):
            arms = _of_kind(study, kind)
            figures = [arm.accuracy[name] for arm in arms]
            line(axes, [arm.num_real_subjects for arm in arms], figures, colour, mark, _NAMES[kind])
        level(axes, _of_kind(study, Kind.SYNTHETIC)[0].accuracy[name], COLOURS[2], "Synthetic images alone")
        axes.axhline(study.chance(name), color=FAINT, linestyle=":", linewidth=1.2, label="a guess")
        axes.set_xscale("log")
        amounts = sorted({arm.num_real_subjects for arm in study.arms if arm.num_real_subjects})
        axes.set_xticks(amounts, [str(amount) for amount in amounts])
        axes.minorticks_off()
        tidy(axes, name)
    for axes in panels[len(study.scopes) :]:
        axes.set_visible(False)
    plot.supxlabel("real training subjects", fontsize=9)
    return png(plot)


def _of_kind(study: Usefulness, kind: Kind) -> list[Arm]:
    return [arm for arm in study.arms if arm.kind == kind]
