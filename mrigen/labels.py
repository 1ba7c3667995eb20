"""The conditions of the model: pathology, modality, and the cell that pairs them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from mrigen.errors import InputError

_PATHOLOGY_SPELLINGS = {
    "healthy": ("healthy", "control", "controls", "hc", "cn", "normal", "nc"),
    "glioblastoma": ("glioblastoma", "gbm", "glioma", "hgg", "tumor", "tumour"),
    "sclerosis": ("sclerosis", "multiplesclerosis", "ms", "rrms", "ppms", "spms"),
    "dementia": ("dementia", "ad", "alzheimer", "alzheimers", "alzheimersdisease"),
}
_MODALITY_SPELLINGS = {
    "t1w": ("t1w", "t1", "t1n", "mprage"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1post", "t1gado", "t1wks", "t1contrast"),
    "t2w": ("t2w", "t2"),
    "flair": ("flair", "t2f", "t2flair"),
    "pd": ("pd", "pdw", "dp", "protondensity"),
}


def _resolve(text: str, what: str, spellings: Mapping[str, tuple[str, ...]], known: list[str]) -> str:
    """The key of `spellings` that `text` spells; case, spaces and punctuation do not count."""
    squeezed = re.sub(r"[^a-z0-9]", "", text.casefold())
    by_spelling = {spelling: key for key, group in spellings.items() for spelling in group}
    if squeezed in by_spelling:
        return by_spelling[squeezed]
    nearest = difflib.get_close_matches(squeezed, by_spelling, n=1, cutoff=0.5)
    names = {name.casefold(): name for name in known}
    hint = f"; did you mean {names[by_spelling[nearest[0]]]}?" if nearest else ""
    raise InputError(f"unknown {what} {text[:80]!r}: known are {', '.join(known)}{hint}")


class Pathology(StrEnum):
    """What ails the subject. The order is that of the model's embedding table."""

    HEALTHY = "Healthy"
    GLIOBLASTOMA = "Glioblastoma"
    SCLEROSIS = "Sclerosis"
    DEMENTIA = "Dementia"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any usual spelling (`GBM`, `ms`, `AD`); InputError lists the known ones."""
        key = _resolve(text, "pathology", _PATHOLOGY_SPELLINGS, [p.value for p in cls])
        return cls[key.upper()]

    @property
    def row(self) -> int:
        """Row of this pathology in the embedding table."""
        return list(type(self)).index(self)


class Modality(StrEnum):
    """How the scan was acquired. The order is that of the model's embedding table."""

    T1W = "T1w"
    T1CE = "T1ce"
    T2W = "T2w"
    FLAIR = "FLAIR"
    PD = "PD"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any usual spelling (`flair`, `t1c`, `T1gd`); InputError lists the known ones."""
        key = _resolve(text, "modality", _MODALITY_SPELLINGS, [m.value for m in cls])
        return cls[key.upper()]

    @property
    def row(self) -> int:
        """Row of this modality in the embedding table."""
        return list(type(self)).index(self)


@dataclass(frozen=True, order=True)
class Cell:
    """One pathology in one modality: what a user asks for, and what data is counted by."""

    pathology: Pathology
    modality: Modality

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `Glioblastoma:T1ce` (also with `/` or `,` between the two labels)."""
        parts = re.split(r"[:/,]", text)
        if len(parts) != 2:
            raise InputError(f"cell {text[:80]!r} is not of the form PATHOLOGY:MODALITY, such as Glioblastoma:FLAIR")
        return cls(Pathology.parse(parts[0]), Modality.parse(parts[1]))

    def __str__(self) -> str:
        return f"{self.pathology}:{self.modality}"


def all_cells() -> list[Cell]:
    """The 20 cells, pathology by pathology."""
    return [Cell(pathology, modality) for pathology in Pathology for modality in Modality]
