"""Conditions as tokens: pathology, modality and slice position, each with a null of its own.

Factorised tokens are what lets a pair of labels be composed that never stood together in training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from mrigen.labels import Cell, Modality, Pathology

NULL_PATHOLOGY = len(Pathology)
NULL_MODALITY = len(Modality)
NULL_POSITION = math.nan
NUM_TOKENS = 3
_FREQUENCIES = 32
_LONGEST_MM = 400.0


@dataclass(frozen=True)
class Conditions:
    """Conditions of a batch: two index tensors (B,) and the slice height in mm (B,), NaN for none."""

    pathology: Tensor
    modality: Tensor
    slice_mm: Tensor

    @classmethod
    def of(cls, cells: Sequence[Cell], slice_mm: Sequence[float]) -> Self:
        """The conditions of cells and their slice heights in mm."""
        return cls(
            torch.tensor([cell.pathology.row for cell in cells]),
            torch.tensor([cell.modality.row for cell in cells]),
            torch.tensor(slice_mm, dtype=torch.float32),
        )

    def without_cell(self) -> Conditions:
        """Null pathology and null modality at the same slice: what guidance is measured from."""
        return Conditions(
            torch.full_like(self.pathology, NULL_PATHOLOGY),
            torch.full_like(self.modality, NULL_MODALITY),
            self.slice_mm,
        )

    def joined(self, other: Conditions) -> Conditions:
        """Both batches, one after the other."""
        return Conditions(
            torch.cat([self.pathology, other.pathology]),
            torch.cat([self.modality, other.modality]),
            torch.cat([self.slice_mm, other.slice_mm]),
        )

    def to(self, device: torch.device | str) -> Conditions:
        """The same conditions on `device`."""
        return Conditions(self.pathology.to(device), self.modality.to(device), self.slice_mm.to(device))


def drop_conditions(
    conditions: Conditions, uniform: Tensor, *, pathology: float, modality: float, position: float, joint: float
) -> Conditions:
    """Replace conditions by their nulls, each with its own chance, and pathology and modality together.

    `uniform` holds the random numbers, (B, 4) in [0, 1).
    """
    together = uniform[:, 3] < joint
    return Conditions(
        torch.where((uniform[:, 0] < pathology) | together, NULL_PATHOLOGY, conditions.pathology),
        torch.where((uniform[:, 1] < modality) | together, NULL_MODALITY, conditions.modality),
        torch.where(uniform[:, 2] < position, NULL_POSITION, conditions.slice_mm),
    )


class Conditioner(nn.Module):
    """Embeds conditions as three tokens of `channels`, which every cross-attention layer sees."""

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.pathology = nn.Embedding(len(Pathology) + 1, channels)
        self.modality = nn.Embedding(len(Modality) + 1, channels)
        self.null_position = nn.Parameter(torch.randn(channels))
        self.position = nn.Sequential(nn.Linear(2 * _FREQUENCIES, channels), nn.SiLU(), nn.Linear(channels, channels))
        # Wavelengths from 4 mm, about a slice, to 400 mm, beyond a head.
        exponents = torch.linspace(0.0, 1.0, _FREQUENCIES)
        wavelengths = _LONGEST_MM * 100.0**-exponents
        self.register_buffer("frequencies", 2.0 * math.pi / wavelengths, persistent=False)

    def forward(self, conditions: Conditions) -> Tensor:
        """Conditions of B images -> tokens (B, 3, channels)."""
        unknown = torch.isnan(conditions.slice_mm)
        phase = torch.where(unknown, 0.0, conditions.slice_mm)[:, None] * self.frequencies
        position = self.position(torch.cat([phase.sin(), phase.cos()], dim=1))
        position = torch.where(unknown[:, None], self.null_position, position)
        return torch.stack([self.pathology(conditions.pathology), self.modality(conditions.modality), position], dim=1)
