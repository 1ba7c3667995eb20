"""An external test as a page, as lines for a terminal, and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Plot

from mrigen.config import Config
from mrigen.evaluation.external import PAIRS, SIDES, ExternalTest
from mrigen.images.index import Group
from mrigen.images.scopes import ScopeKind
from mrigen.labels import all_cells
from mrigen.report.evaluation.plots import dots, named_lines
from mrigen.report.figure_text import Notes, aligned, apart, figure_and_interval, figure_text
from mrigen.report.plots import BLUE, RED, YELLOW, tidy
from mrigen.report.rendering import data_uri, embedded_slice, render

_SIDES = dict(zip(SIDES, ("Own held-out", "External", "Samples"), strict=True))
_PAIRS = dict(zip(PAIRS, ("Samples to own", "Samples to external", "Own to external"), strict=True))
_LOOKS = dict(zip(PAIRS, ((RED, "o"), (YELLOW, "D"), (BLUE, "s")), strict=True))
_FIGURES = {"kid": "KID", "fid": "FID"}
_LARGER = 1.25
"""Foregrounds whose sizes differ by more than this may be heads on one side and brains on the other."""


def external_page(
    title: str, found: ExternalTest, config: Config, notices: Sequence[str], facts: Mapping[str, str]
) -> str:
    """As HTML. `notices` come before all else; `facts` are listed at the end."""
    notes = Notes()
    tables = []
    for extractor in found.extractors:
        names = [f"{extractor}/{pair}/{figure}" for figure in _FIGURES for pair in PAIRS]
        tables.append(
            {
                "extractor": extractor,
                "plot": _plot(found, extractor),
                "titles": [f"{label}: {words}" for words in _FIGURES.values() for label in _PAIRS.values()],
                "rows": [
                    {
                        "name": row.scope.name,
                        "kind": str(row.scope.kind),
                        "untrained": row.scope.untrained,
                        "n": row.figures[names[0]].n,
                        "figures": [notes.shown(name, row.figures[name]) for name in names],
                    }
                    for row in found.rows
                ],
            }
        )
    shown = {row.scope.cell for row in found.rows}
    return render(
        "external/page.html",
        plane=config.data.plane,
        title=title,
        verdict=external_verdict(found),
        sides=[(name, found.sides[group]) for group, name in _SIDES.items()],
        tables=tables,
        any_untrained=any(row.scope.untrained for row in found.rows),
        pictures=[
            (
                str(cell),
                [
                    (name, [embedded_slice(one, synthetic=group == Group.GENERATED) for one in images])
                    for group, name in _SIDES.items()
                    if (images := found.pictures.get((group, cell)))
                ],
            )
            for cell in all_cells()
            if cell in shown
        ],
        reasons=notes.reasons,
        notices=notices,
        facts=facts,
    )


def external_verdict(found: ExternalTest) -> str:
    """The three distances over all cells, and which of the two parts is larger, where their intervals tell."""
    if not found.extractors:
        return "Nothing can be said: there is no extractor of features."
    lead = found.extractors[0]
    model, both, gap = (found.rows[0].figures[f"{lead}/{pair}/kid"] for pair in PAIRS)
    if missing := next((figure.reason for figure in (model, both, gap) if figure.reason), None):
        return f"Nothing can be said of {found.rows[0].scope.name.lower()}: {missing}."
    text = [figure_and_interval("kid", figure) for figure in (model, both, gap)]
    told = f"By KID of {lead}, samples lie {text[0]} from the own held-out images and {text[1]} from the external ones"
    if not apart(model, gap):
        larger = "which of the two is larger cannot be told"
    elif (model.value or 0.0) > (gap.value or 0.0):
        larger = "the model's error is the larger part"
    else:
        larger = "the gap between the data sets is the larger part, which this model cannot close"
    return f"{told}; own and external images lie {text[2]} apart: {larger}."


def external_warnings(found: ExternalTest) -> list[str]:
    """In what the two real sides differ that no model could mend."""
    own, other = found.sides[Group.HELD_OUT], found.sides[Group.EXTERNAL]
    told = []
    if max(own.foreground, other.foreground) > _LARGER * min(own.foreground, other.foreground):
        fills = [f"{100 * side.foreground:.0f} %" for side in (own, other)]
        told.append(
            f"The foreground fills {fills[0]} of the own images and {fills[1]} of the external ones: see whether "
            "these are whole heads on one side, or cut otherwise."
        )
    if other.lowest_mm < own.lowest_mm - 1 or other.highest_mm > own.highest_mm + 1:
        told.append(
            f"External slices lie at {other.lowest_mm:.0f} to {other.highest_mm:.0f} mm, the own ones at "
            f"{own.lowest_mm:.0f} to {own.highest_mm:.0f} mm: a part of the gap is a matter of heights."
        )
    return told


def external_lines(found: ExternalTest) -> str:
    """KID of all rows by the leading extractor, and the verdict. `-` stands where there is no figure."""
    lines = [["KID", *(str(one).lower() for one in _PAIRS.values())]]
    for row in found.rows:
        names = [f"{found.extractors[0]}/{pair}/kid" for pair in PAIRS] if found.extractors else []
        lines.append([row.scope.name, *(figure_text(name, row.figures[name]) or "-" for name in names)])
    return "\n".join([*aligned(lines), "", external_verdict(found)])


def _plot(found: ExternalTest, extractor: str) -> str | None:
    kinds = (ScopeKind.OVERALL, ScopeKind.CELL)
    rows = [
        row for row in found.rows if row.scope.kind in kinds and row.figures[f"{extractor}/samples_to_own/kid"].value
    ]
    if not rows:
        return None
    plot = Plot(figsize=(8.6, 0.42 * len(rows) + 1.5), dpi=110, layout="constrained")
    axes = plot.subplots()
    for offset, (pair, label) in zip((0.22, 0.0, -0.22), _PAIRS.items(), strict=True):
        colour, mark = _LOOKS[pair]
        dots(axes, [row.figures[f"{extractor}/{pair}/kid"] for row in rows], colour, mark, offset, label)
    tidy(axes, f"KID, {extractor}", lines=True)
    return data_uri(named_lines(plot, [row.scope.name + (" *" if row.scope.untrained else "") for row in rows]))
