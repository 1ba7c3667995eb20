"""The conditions of the model: pathology, modality, and the cell that pairs them."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from mrigen.errors import InputError

_SPELLINGS = {
    "Healthy": ("healthy", "control", "controls", "hc", "cn", "normal", "nc"),
    "Glioblastoma": ("glioblastoma", "gbm", "glioma", "hgg", "tumor", "tumour"),
    "Sclerosis": ("sclerosis", "multiplesclerosis", "ms", "rrms", "ppms", "spms"),
    "Dementia": ("dementia", "ad", "alzheimer", "alzheimers", "alzheimersdisease"),
    "T1w": ("t1w", "t1", "t1n", "mprage"),
    "T1ce": ("t1ce", "t1c", "t1gd", "t1post", "t1gado", "t1wks", "t1contrast"),
    "T2w": ("t2w", "t2"),
    "FLAIR": ("flair", "t2f", "t2flair"),
    "PD": ("pd", "pdw", "dp", "protondensity"),
}


class _Label(StrEnum):
    """A label as users spell it. The order of a class's members is that of the model's embedding table."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any usual spelling (`GBM`, `ms`, `t1c`), whatever its case, spaces and punctuation.

        Raises InputError that lists the known labels and the nearest.
        """
        squeezed = re.sub(r"[^a-z0-9]", "", text.casefold())
        by_spelling = {spelling: label for label in cls for spelling in _SPELLINGS[label.value]}
        if squeezed in by_spelling:
            return by_spelling[squeezed]
        nearest = difflib.get_close_matches(squeezed, by_spelling, n=1, cutoff=0.5)
        hint = f"; did you mean {by_spelling[nearest[0]]}?" if nearest else ""
        what = cls.__name__.lower()
        raise InputError(f"unknown {what} {text[:80]!r}: known are {', '.join(cls)}{hint}")

    @property
    def row(self) -> int:
        """Row of this label in the embedding table."""
        return list(type(self)).index(self)


class Pathology(_Label):
    """What ails the subject."""

    HEALTHY = "Healthy"
    GLIOBLASTOMA = "Glioblastoma"
    SCLEROSIS = "Sclerosis"
    DEMENTIA = "Dementia"


class Modality(_Label):
    """How the scan was acquired."""

    T1W = "T1w"
    T1CE = "T1ce"
    T2W = "T2w"
    FLAIR = "FLAIR"
    PD = "PD"


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
