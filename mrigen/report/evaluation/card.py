"""The leading figures of an evaluation, for the card of the data set that was evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from mrigen import __version__
from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.evaluation.summary import FIDELITY, Evaluation
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.verdict import verdict
from mrigen.report.figure_text import figure_and_interval

_NOTHING = Figure.missing("not computed")


def card_figures(evaluation: Evaluation, said: Sequence[str], command: str | None) -> str:
    """Markdown: a table of what is pooled, each figure with its N and interval beside that of real images; the verdict,
    and what was `said` before it."""
    lead = evaluation.extractors[0] if evaluation.extractors else "none"
    kinds = {
        f"KID by {lead}": (f"{lead}/kid", f"{lead}/kid_floor"),
        "precision": (f"{lead}/precision", f"{lead}/precision_floor"),
        "coverage": (f"{lead}/coverage", f"{lead}/coverage_floor"),
        "MS-SSIM of pairs": ("diversity/ms_ssim_generated", "diversity/ms_ssim_real"),
        **{f"{target} named right": (f"{FIDELITY}/{target}", f"{FIDELITY}/{target}_real") for target in TARGETS},
    }
    lines = ["| of | figure | generated images | N | real images (floor) | N |", f"|{' --- |' * 6}"]
    for row in evaluation.of_kind(ScopeKind.OVERALL):
        for title, names in kinds.items() if row.images["generated"] else ():
            told = [cell for name in names for cell in _cells(name, row.figures.get(name, _NOTHING))]
            lines.append(f"| {' | '.join([row.name.lower(), title, *told])} |")
    by = f"By `{command or 'mrigen evaluate'}` of mrigen {__version__}"
    against = f"against held-out real images ({evaluation.split}), 95 % intervals in brackets"
    words = [f"- {line}" for line in (*said, *verdict(evaluation))]
    return "\n".join([f"{by}, {against}:", "", *lines, "", *words, ""])


def _cells(name: str, figure: Figure) -> tuple[str, str]:
    return figure_and_interval(name, figure) if figure.value is not None else f"none: {figure.reason}", str(figure.n)
