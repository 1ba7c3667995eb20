"""The page of the study of spaces: the verdict, what each space takes, KID along the trainings, and samples."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Plot

from mrigen.report.figure_text import Notes
from mrigen.report.plots import BLUE, GREEN, RED, YELLOW, blank, level, line, png_with_legend, tidy
from mrigen.report.rendering import data_uri, embedded_slice, render
from mrigen.report.spaces.words import SAME, spaces_verdict
from mrigen.studies.spaces.plan import Source, SpaceTraining
from mrigen.studies.spaces.summary import Spaces, median_figure
from mrigen.training.memory import bytes_text

SHOWN_CELLS = 6
_LOOKS = list(itertools.product("os", (BLUE, GREEN, YELLOW, RED)))
_AXES = {"same_time": "minutes of training, autoencoder and encoding included", "same_steps": "steps of the denoiser"}


def spaces_page(title: str, study: Spaces, notices: Sequence[str], facts: Mapping[str, str], *, plane: str) -> str:
    """As HTML. `notices` come before all else; `facts` are listed at the end; `plane` is that of the slices."""
    notes = Notes()
    count = min(SHOWN_CELLS, len(study.cells))
    shown = [study.cells[place * len(study.cells) // count] for place in range(count)]
    return render(
        "spaces/page.html",
        plane=plane,
        title=title,
        study=study,
        verdict=spaces_verdict(study),
        costs=[_cost_row(study, space, notes) for space in study.costs],
        tables={
            SAME[name]: [_training_row(study, training, notes) for training in some]
            for name, some in study.trainings.items()
        },
        curves=data_uri(curve_plot(study)),
        shown_cells=[str(cell) for cell in shown],
        pictures=[
            {
                "name": training.space,
                "images": [embedded_slice(images[cell], synthetic=True) for cell in shown if cell in images],
            }
            for training in study.trainings["same_time"]
            for images in [study.pictures[Source(training.space, training.num_steps, training.num_steps)]]
        ],
        reasons=notes.reasons,
        notices=notices,
        facts=facts,
    )


def _cost_row(study: Spaces, space: str, notes: Notes) -> dict[str, Any]:
    cost = study.costs[space]
    rate = median_figure([1 / seconds for seconds in cost.sample_s])
    return {
        "space": space,
        "shape": " x ".join(map(str, study.latent_shapes[space])),
        "before": f"{cost.autoencoder_s:.0f} s + {cost.encode_s:.0f} s",
        "step": notes.shown("step_s", median_figure(cost.step_s)),
        "memory": bytes_text(cost.peak_bytes),
        "samples": notes.shown("samples_per_s", rate),
        "restored": notes.shown("kid", study.restored(space)),
    }


def _training_row(study: Spaces, training: SpaceTraining, notes: Notes) -> dict[str, Any]:
    _, seconds, kid = study.curve(training)[-1]
    return {
        "space": training.space,
        "num_steps": training.num_steps,
        "minutes": f"{seconds / 60:.1f}",
        "took": f"{study.took_s[training] / 60:.1f}",
        "kid": notes.shown("kid", kid),
    }


def curve_plot(study: Spaces) -> bytes:
    """KID against time, of the trainings that take the same time; against steps, of those that take as many."""
    plot = Plot(figsize=(11, 3.8), dpi=110, layout="constrained")
    looks = dict(zip(study.costs, _LOOKS, strict=False))
    for axes, (name, some) in zip(plot.subplots(1, 2, sharey=True), study.trainings.items(), strict=True):
        for training in some:
            mark, colour = looks[training.space]
            curve = study.curve(training)
            places = [seconds / 60 if name == "same_time" else steps for steps, seconds, _ in curve]
            line(axes, places, [figure for _, _, figure in curve], colour, mark, training.space)
            level(axes, study.restored(training.space), colour, f"{training.space}: real images restored")
        tidy(axes, f"{SAME[name]}: KID")
        axes.set_xlabel(_AXES[name], fontsize=9)
        blank(axes, [figure for training in some for _, _, figure in study.curve(training)])
    return png_with_legend(plot)
