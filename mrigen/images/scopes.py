"""Over which cells figures are taken: each by itself, by pathology, by modality, and all."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from mrigen.labels import Cell, Modality, Pathology, all_cells


class Kind(StrEnum):
    """What a row of the report stands for."""

    OVERALL = "overall"
    PATHOLOGY = "pathology"
    MODALITY = "modality"
    CELL = "cell"


@dataclass(frozen=True)
class Scope:
    """Some cells that are judged together. Cells never seen in training are never pooled with the others."""

    name: str
    kind: Kind
    cells: tuple[Cell, ...]
    untrained: bool = False

    @property
    def cell(self) -> Cell | None:
        """The cell, where it is one."""
        return self.cells[0] if self.kind == Kind.CELL else None


def all_scopes(untrained: Set[Cell]) -> list[Scope]:
    """Every scope that holds a cell, the widest first."""
    trained = tuple(cell for cell in all_cells() if cell not in untrained)
    scopes = [
        Scope("All trained cells", Kind.OVERALL, trained),
        Scope("All untrained cells", Kind.OVERALL, tuple(c for c in all_cells() if c in untrained), untrained=True),
        *(Scope(str(m), Kind.MODALITY, tuple(c for c in trained if c.modality == m)) for m in Modality),
        *(Scope(str(p), Kind.PATHOLOGY, tuple(c for c in trained if c.pathology == p)) for p in Pathology),
        *(Scope(str(cell), Kind.CELL, (cell,), untrained=cell in untrained) for cell in all_cells()),
    ]
    return [scope for scope in scopes if scope.cells]
