"""Figures as the tables of an evaluation's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrigen.evaluation.summary import ScopeRow
from mrigen.images.scopes import ScopeKind
from mrigen.report.figure_text import Notes

WIDE = (ScopeKind.OVERALL, ScopeKind.PATHOLOGY, ScopeKind.MODALITY)
"""Rows that pool several cells."""


@dataclass(frozen=True)
class Column:
    """A figure of every row by its name, and what stands below it: the same of real images, where there is such."""

    title: str
    name: str
    real: str | None = None


def figure_table(rows: Sequence[ScopeRow], columns: Sequence[Column], notes: Notes) -> dict[str, Any]:
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
