"""The page of an ablation: the verdict, quality against work and guidance, all settings, and samples of some."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from mrigen.report.ablation.words import ablation_verdict
from mrigen.report.figure_text import Notes
from mrigen.report.plots import COLOURS, FAINT, blank, level, line, png_with_legend, tidy
from mrigen.report.rendering import data_uri, embedded_slice, render
from mrigen.studies.ablation.looking import EXTRACTORS
from mrigen.studies.ablation.settings import COMPARED, Drop, Setting
from mrigen.studies.ablation.summary import Ablation

SHOWN_CELLS = 6
_LOOKS = dict(zip(COMPARED, itertools.cycle(itertools.product("soD^v", COLOURS)), strict=False))


def figure_titles() -> dict[str, str]:
    """Titles of the figures, by name."""
    kids = {f"{name}/kid": f"KID, {name}" for name in EXTRACTORS}
    return {**kids, "pathology": "Accuracy of pathology", "modality": "Accuracy of modality"}


def ablation_page(title: str, study: Ablation, notices: Sequence[str], facts: Mapping[str, str], *, plane: str) -> str:
    """As HTML. `notices` come before all else; `facts` are listed at the end; `plane` is that of the slices."""
    notes, titles = Notes(), figure_titles()
    count = min(SHOWN_CELLS, len(study.cells))
    shown = [study.cells[place * len(study.cells) // count] for place in range(count)]
    return render(
        "ablation/page.html",
        plane=plane,
        title=title,
        study=study,
        verdict=ablation_verdict(study),
        columns=list(titles.values()),
        floor=[notes.shown(name, study.floor[name]) for name in titles],
        rows=[
            {
                "name": setting_name(setting, study.own),
                "evaluations": setting.num_evaluations,
                "figures": [notes.shown(name, figures[name]) for name in titles],
            }
            for setting, figures in study.rows.items()
        ],
        curves=data_uri(curve_plot(study)),
        guidance=data_uri(guidance_plot(study)),
        shown_cells=[str(cell) for cell in shown],
        pictures=[
            {
                "name": setting_name(setting, study.own),
                "images": [embedded_slice(images[cell], synthetic=True) for cell in shown if cell in images],
            }
            for setting, images in study.pictures.items()
        ],
        reasons=notes.reasons,
        notices=notices,
        facts=facts,
    )


def setting_name(setting: Setting, own: Setting) -> str:
    """What sets a setting apart from the model's own one."""
    sampler = setting.sampler
    if setting == own:
        return f"As used: {sampler.solver}, {sampler.num_steps} steps"
    if setting.drop != Drop.NOTHING:
        return f"Without {setting.drop}"
    if (sampler.solver, sampler.num_steps) != (own.sampler.solver, own.sampler.num_steps):
        return f"{sampler.solver}, {sampler.num_steps} steps"
    return f"Guidance scale {sampler.guidance_scale:g}" if sampler.guidance_terms else "Without guidance"


def curve_plot(study: Ablation) -> bytes:
    """Every figure against the number of function evaluations, a line for each solver."""
    plot, panels = _panels(study)
    for name, axes in panels.items():
        for solver, (mark, colour) in _LOOKS.items():
            settings = [one for one in _varied(study, "solver", "num_steps") if one.sampler.solver == solver]
            settings.sort(key=lambda setting: setting.num_evaluations)
            figures = [study.rows[setting][name] for setting in settings]
            line(axes, [s.num_evaluations for s in settings], figures, colour, mark, solver)
        axes.set_xscale("log")
        counts = sorted({s.num_evaluations for s in study.rows if s.drop == Drop.NOTHING})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        blank(axes, [figures[name] for figures in study.rows.values()])
    plot.supxlabel("function evaluations a sample", fontsize=9)
    return png_with_legend(plot)


def guidance_plot(study: Ablation) -> bytes:
    """Every figure against the guidance scale, at the model's own solver and number of steps."""
    own = study.own.sampler
    settings = _varied(study, "guidance_scale")
    settings.sort(key=lambda setting: setting.sampler.guidance_scale)
    plot, panels = _panels(study)
    for name, axes in panels.items():
        scales = [setting.sampler.guidance_scale for setting in settings]
        label = f"{own.solver}, {own.num_steps} steps"
        line(axes, scales, [study.rows[setting][name] for setting in settings], COLOURS[1], "o", label)
        blank(axes, [study.rows[setting][name] for setting in settings])
    plot.supxlabel("guidance scale", fontsize=9)
    return png_with_legend(plot)


def _varied(study: Ablation, *names: str) -> list[Setting]:
    """The settings that drop nothing and differ from the model's own in the fields `names` at most."""
    own = study.own.sampler
    same = {name: getattr(own, name) for name in names}
    return [one for one in study.rows if one.drop == Drop.NOTHING and one.sampler.model_copy(update=same) == own]


def _panels(study: Ablation) -> tuple[Plot, dict[str, Axes]]:
    """A panel for every figure, with the floor drawn in."""
    titles = figure_titles()
    plot = Plot(figsize=(3.1 * len(titles), 3.3), dpi=110, layout="constrained")
    panels = dict(zip(titles, plot.subplots(1, len(titles), squeeze=False)[0], strict=True))
    for name, axes in panels.items():
        level(axes, study.floor[name], FAINT, "real images")
        tidy(axes, titles[name])
    return plot, panels
