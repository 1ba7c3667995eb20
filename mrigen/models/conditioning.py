"""Conditions as tokens: pathology, modality, slice position and, where a model tells sources apart, the source, each
with a null of its own.

Factorised tokens are what lets a pair of labels be composed that never stood together in training.

A new condition of all models is an entry of `CONDITIONS`, its dropout in `mrigen.config.DenoiserConfig`, its column in
`mrigen.records`, and where its values come from: the scan's row, and a request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from mrigen.config import DenoiserConfig
from mrigen.labels import Cell, Modality, Pathology

_FREQUENCIES = 32


@dataclass(frozen=True)
class Categorical:
    """A condition with one embedding a label, and one for null, the row after the last."""

    labels: tuple[str, ...]
    dropout: str
    """The setting of `DenoiserConfig` that is its chance to be dropped."""
    guided: bool = True
    """Whether guidance is measured from its absence; these are also dropped together."""
    open: bool = False
    """Whether labels beyond these are null; else they are a fault."""

    @property
    def null(self) -> int:
        """The row of the null."""
        return len(self.labels)

    def encoded(self, values: Sequence[Any]) -> Tensor:
        """Labels, of which None is null -> rows of the embedding table (B,)."""
        known = [*self.labels, None]
        return torch.tensor([known.index(value) for value in values])


@dataclass(frozen=True)
class Continuous:
    """A number, seen through sines and cosines of wavelengths from `shortest` to `longest`; NaN is null."""

    shortest: float
    longest: float
    token: str
    """Name of its embedding in the weights."""
    dropout: str
    """As of `Categorical`."""
    guided: bool = False
    """As of `Categorical`."""
    null: ClassVar[float] = math.nan

    def encoded(self, values: Sequence[Any]) -> Tensor:
        """Numbers -> float32 (B,)."""
        return torch.tensor(values, dtype=torch.float32)

    def frequencies(self) -> Tensor:
        """Angular frequencies (F,), the lowest first."""
        exponents = torch.linspace(0.0, 1.0, _FREQUENCIES)
        return 2.0 * math.pi / (self.longest * (self.longest / self.shortest) ** -exponents)


Vocabulary = Mapping[str, Categorical | Continuous]
"""What a model is told, by the name of the column that holds it; the order is that of the tokens."""

CONDITIONS: Vocabulary = {
    "pathology": Categorical(tuple(Pathology), dropout="pathology_dropout"),
    "modality": Categorical(tuple(Modality), dropout="modality_dropout"),
    # In mm: from about the distance of two slices to beyond a head.
    "slice_mm": Continuous(4.0, 400.0, token="position", dropout="position_dropout"),
}
"""What every model is told."""


def vocabulary_of(sources: Sequence[str]) -> Vocabulary:
    """`CONDITIONS` and, where a model tells some `sources` apart, the source, whose null is the average over them."""
    if not sources:
        return CONDITIONS
    return {**CONDITIONS, "source": Categorical(tuple(sources), dropout="source_dropout", guided=False, open=True)}


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of a batch: of each of the vocabulary a tensor (B,), of rows of its table or of numbers."""

    values: Mapping[str, Tensor]
    vocabulary: Vocabulary

    @classmethod
    def of(
        cls,
        cells: Sequence[Cell],
        slice_mm: Sequence[float],
        vocabulary: Vocabulary = CONDITIONS,
        **others: Sequence[Any],
    ) -> Self:
        """The conditions of cells, their slice heights in mm, and others by name; of the vocabulary those not given are
        null."""
        given: dict[str, Sequence[Any]] = {
            "pathology": [cell.pathology for cell in cells],
            "modality": [cell.modality for cell in cells],
            "slice_mm": slice_mm,
            **others,
        }
        nulls = {name: torch.full((len(cells),), condition.null) for name, condition in vocabulary.items()}
        told = {name: vocabulary[name].encoded(values) for name, values in given.items()}
        return cls(nulls | told, vocabulary)

    @property
    def num_uniforms(self) -> int:
        """Random numbers that `drop_conditions` takes of each row."""
        return len(self.vocabulary) + 1

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """All conditions changed by a function of name and values."""
        return replace(self, values={name: change(name, values) for name, values in self.values.items()})

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The conditions of some rows."""
        return self.map(lambda _, values: values[rows])

    def without(self, *names: str) -> Self:
        """Nulls in the place of the named conditions."""
        return self.map(
            lambda name, values: torch.full_like(values, self.vocabulary[name].null) if name in names else values
        )

    def without_cell(self) -> Self:
        """Null where guidance is measured from: no pathology and no modality, at the same slice and source."""
        return self.without(*(name for name, condition in self.vocabulary.items() if condition.guided))

    def joined(self, other: Conditions) -> Self:
        """Both batches, one after the other."""
        return self.map(lambda name, values: torch.cat([values, other.values[name]]))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same conditions on `device`."""
        return self.map(lambda _, values: values.to(device, non_blocking=non_blocking))


def drop_conditions(conditions: Conditions, uniform: Tensor, settings: DenoiserConfig) -> Conditions:
    """Replace conditions by their nulls, each with its own chance, and those that are guided together.

    `uniform` holds the random numbers in [0, 1), (B, num_uniforms): a column for each condition, and one for all.
    """
    together = uniform[:, -1] < settings.joint_dropout
    columns = dict(zip(conditions.vocabulary, uniform.unbind(1), strict=False))

    def dropped(name: str, values: Tensor) -> Tensor:
        condition = conditions.vocabulary[name]
        alone = columns[name] < getattr(settings, condition.dropout)
        return torch.where(alone | together if condition.guided else alone, condition.null, values)

    return conditions.map(dropped)


class Conditioner(nn.Module):
    """Embeds conditions as one token of `channels` each, which every cross-attention layer sees."""

    def __init__(self, channels: int, vocabulary: Vocabulary = CONDITIONS) -> None:
        super().__init__()
        self.channels, self.vocabulary = channels, vocabulary
        for name, condition in vocabulary.items():
            if isinstance(condition, Categorical):
                setattr(self, name, nn.Embedding(len(condition.labels) + 1, channels))
            else:
                setattr(self, f"null_{condition.token}", nn.Parameter(torch.randn(channels)))
                layers = nn.Linear(2 * _FREQUENCIES, channels), nn.SiLU(), nn.Linear(channels, channels)
                setattr(self, condition.token, nn.Sequential(*layers))
                self.register_buffer(f"{condition.token}_frequencies", condition.frequencies(), persistent=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """Those that are told apart."""
        told = self.vocabulary.get("source")
        return told.labels if isinstance(told, Categorical) else ()

    def forward(self, conditions: Conditions) -> Tensor:
        """Conditions of B images, in the same vocabulary -> tokens (B, len(vocabulary), channels)."""
        return torch.stack([self._token(name, conditions.values[name]) for name in self.vocabulary], dim=1)

    def _token(self, name: str, values: Tensor) -> Tensor:
        condition = self.vocabulary[name]
        if isinstance(condition, Categorical):
            embedded: Tensor = getattr(self, name)(values)
            return embedded
        unknown = torch.isnan(values)
        phase = torch.where(unknown, 0.0, values)[:, None] * getattr(self, f"{condition.token}_frequencies")
        embedded = getattr(self, condition.token)(torch.cat([phase.sin(), phase.cos()], dim=1))
        return torch.where(unknown[:, None], getattr(self, f"null_{condition.token}"), embedded)
