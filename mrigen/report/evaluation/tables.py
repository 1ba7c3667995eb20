"""Figures as the table cells of an evaluation's page, with numbered reasons for those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrigen.evaluation.summary import Row
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.figure import Figure
from mrigen.report.figure_text import figure_text, interval_text, p_text

WIDE = (ScopeKind.OVERALL, ScopeKind.PATHOLOGY, ScopeKind.MODALITY)
"""Rows that pool several cells."""


@dataclass(frozen=True)
class Column:
    """A figure of every row by its name, and what stands below it: the same of real images, where there is such."""

    title: str
    name: str
    real: str | None = None


class Notes:
    """The reasons for missing figures, each once, in the order in which they first come up."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def number(self, reason: str) -> int:
        """That of a reason, from 1."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason) + 1

    def shown(self, name: str, figure: Figure) -> dict[str, Any]:
        """A figure as the macro `number` takes it."""
        return {
            "text": figure_text(name, figure),
            "interval": interval_text(name, figure),
            "p": p_text(figure),
            "n": figure.n,
            "note": self.number(figure.reason) if figure.reason is not None else None,
        }


def figure_table(rows: Sequence[Row], columns: Sequence[Column], notes: Notes) -> dict[str, Any]:
    """Rows of figures, as the macro `figure_table` takes them; with the N that all figures of a row share, if they
    do."""
    shown = []
    for row in rows:
        figures = [(c.name, row.figures[c.name], row.figures.get(c.real) if c.real else None) for c in columns]
        numbers = {f.n for _, *both in figures for f in both if f and f.value is not None}
        shown.append(
            {
                "name": row.name,
                "kind": str(row.scope.kind),
                "marked": row.scope.untrained and row.scope.kind == ScopeKind.CELL,
                "images": row.images,
                "n": numbers.pop() if len(numbers) == 1 else None,
                "figures": [
                    {**notes.shown(name, figure), "real": notes.shown(name, real) if real else None}
                    for name, figure, real in figures
                ],
            }
        )
    return {"titles": [column.title for column in columns], "rows": shown}
