"""What was seen of all shards of an evaluation, sorted by group and cell.

Rows are put into one order, that of their ids' hashes, before anything is added up: the figures depend neither
on how many workers there were nor on the order in which they finished. Sums that a shard's file already holds are added
in the order of the shards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mrigen.images.index import Group, hash_order
from mrigen.labels import Cell

Slice = np.ndarray[Any, np.dtype[np.float32]]
Vector = np.ndarray[Any, np.dtype[np.float32]]
Logits = np.ndarray[Any, np.dtype[np.float64]]

RESTORED = ("psnr", "ssim", "mae")


@dataclass
class DescribedCell:
    """What was seen of one group of one cell; an image that is not finite counts as broken and gives no more."""

    owners: list[str] = field(default_factory=list)
    features: list[list[Vector]] = field(default_factory=list)
    """Of each image, those of each extractor."""
    answers: list[Logits] = field(default_factory=list)
    answered_owners: list[str] = field(default_factory=list)
    """Of the images that the classifier saw: its logits of pathology, then of modality (9,), and the owner."""
    restored_owners: list[str] = field(default_factory=list)
    restored: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in RESTORED})
    num_marked: int = 0
    """Restored images with a lesion mask, be it empty."""
    lesion_owners: list[str] = field(default_factory=list)
    lesion_mae: list[float] = field(default_factory=list)
    """Of the restored images that show a lesion."""
    error_sum: np.ndarray[Any, np.dtype[np.float64]] | None = None
    kept_owners: list[str] = field(default_factory=list)
    kept: list[tuple[float, Slice]] = field(default_factory=list)
    """Height in mm and pixels of the images that were kept."""
    num_broken: int = 0

    def __len__(self) -> int:
        return len(self.owners)


@dataclass(frozen=True)
class DescribedImages:
    """What was seen of all images; `groups` holds what is not empty."""

    groups: Mapping[tuple[Group, Cell], DescribedCell]

    def of(self, group: Group, cells: Iterable[Cell]) -> list[DescribedCell]:
        """One for each of the cells, in their order; empty where the group has no image of it."""
        return [self.groups.get((group, cell), DescribedCell()) for cell in cells]


def num_broken(cells: Iterable[DescribedCell]) -> tuple[int, int]:
    """How many images of some cells hold values that are not finite, and how many there are."""
    some = list(cells)
    return sum(cell.num_broken for cell in some), sum(map(len, some))


def sort_by_cell(tables: Iterable[pa.Table], shape: tuple[int, ...]) -> DescribedImages:
    """Sort the rows of all shards by group and cell; tables come in the order of the shards, `shape` is an image's."""
    rows = [row for table in tables for row in table.to_pylist()]
    groups: dict[tuple[Group, Cell], DescribedCell] = defaultdict(DescribedCell)
    for row in rows:
        if row["error_sum"] is not None:
            cell = groups[Group(row["group"]), Cell.parse(row["cell"])]
            errors = np.frombuffer(row["error_sum"], np.float64).reshape(shape)
            cell.error_sum = errors if cell.error_sum is None else cell.error_sum + errors
    for row in sorted(rows, key=lambda row: hash_order(row["id"])):
        cell = groups[Group(row["group"]), Cell.parse(row["cell"])]
        cell.owners.append(row["owner"])
        if row["psnr"] is not None:
            cell.restored_owners.append(row["owner"])
            for name in RESTORED:
                cell.restored[name].append(row[name])
            cell.num_marked += row["lesion_pixels"] is not None
            if row["lesion_mae"] is not None:
                cell.lesion_owners.append(row["owner"])
                cell.lesion_mae.append(row["lesion_mae"])
        if row["features"] is None:
            cell.num_broken += 1
        else:
            cell.features.append([np.frombuffer(vector, np.float32) for vector in row["features"]])
        if row["answers"] is not None:
            cell.answers.append(np.frombuffer(row["answers"], np.float64))
            cell.answered_owners.append(row["owner"])
        if row["image"] is not None:
            image = np.frombuffer(row["image"], np.float16).reshape(shape).astype(np.float32)
            cell.kept_owners.append(row["owner"])
            cell.kept.append((row["slice_mm"], image))
    return DescribedImages(dict(groups))
