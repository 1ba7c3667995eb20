"""Over which cells figures are taken: each by itself, by pathology, by modality, and all."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from mrigen.labels import Cell, Modality, Pathology, all_cells


class ScopeKind(StrEnum):
    """What a row of the report stands for."""

    OVERALL = "overall"
    PATHOLOGY = "pathology"
    MODALITY = "modality"
    CELL = "cell"


@dataclass(frozen=True)
class Scope:
    """Cells that figures are taken over together. Those never seen in training are never pooled with the others."""

    name: str
    kind: ScopeKind
    cells: tuple[Cell, ...]
    untrained: bool = False

    @property
    def cell(self) -> Cell | None:
        """The cell, where it is one."""
        return self.cells[0] if self.kind == ScopeKind.CELL else None

    @property
    def these(self) -> str:
        """How a reason speaks of its cells."""
        return "these cells" if self.cell is None else "this cell"


def all_scopes(untrained: Set[Cell]) -> list[Scope]:
    """Every scope that holds a cell, the widest first."""
    trained = tuple(cell for cell in all_cells() if cell not in untrained)
    scopes = [
        Scope("All trained cells", ScopeKind.OVERALL, trained),
        Scope(
            "All untrained cells", ScopeKind.OVERALL, tuple(c for c in all_cells() if c in untrained), untrained=True
        ),
        *(Scope(str(m), ScopeKind.MODALITY, tuple(c for c in trained if c.modality == m)) for m in Modality),
        *(Scope(str(p), ScopeKind.PATHOLOGY, tuple(c for c in trained if c.pathology == p)) for p in Pathology),
        *(Scope(str(cell), ScopeKind.CELL, (cell,), untrained=cell in untrained) for cell in all_cells()),
    ]
    return [scope for scope in scopes if scope.cells]
