"""The parts of an evaluation, sorted by group and cell.

Rows are put into one order, that of their ids' hashes, before anything is added up: the figures depend neither
on how many workers there were nor on the order in which they finished. Sums that a part already holds are added in
the order of the shards.
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
class Looked:
    """What the parts hold of one group of one cell; an image that is not finite counts as broken and gives no more."""

    owners: list[str] = field(default_factory=list)
    features: list[list[Vector]] = field(default_factory=list)
    """Of each image, those of each extractor."""
    answers: list[Logits] = field(default_factory=list)
    answered_owners: list[str] = field(default_factory=list)
    """Of the images that the judge saw: its logits of pathology, then of modality (9,), and the owner."""
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


Found = Mapping[tuple[Group, Cell], Looked]


def num_broken(found: Found, group: Group) -> tuple[int, int]:
    """How many images of a group hold values that are not finite, and how many there are."""
    looked = [one for (of, _), one in found.items() if of == group]
    return sum(one.num_broken for one in looked), sum(map(len, looked))


def gather(parts: Iterable[pa.Table], shape: tuple[int, ...]) -> Found:
    """Sort the rows of all parts by group and cell; parts come in the order of the shards, `shape` is an image's."""
    rows = [row for part in parts for row in part.to_pylist()]
    found: dict[tuple[Group, Cell], Looked] = defaultdict(Looked)
    for row in rows:
        if row["error_sum"] is not None:
            looked = found[Group(row["group"]), Cell.parse(row["cell"])]
            errors = np.frombuffer(row["error_sum"], np.float64).reshape(shape)
            looked.error_sum = errors if looked.error_sum is None else looked.error_sum + errors
    for row in sorted(rows, key=lambda row: hash_order(row["id"])):
        looked = found[Group(row["group"]), Cell.parse(row["cell"])]
        looked.owners.append(row["owner"])
        if row["psnr"] is not None:
            looked.restored_owners.append(row["owner"])
            for name in RESTORED:
                looked.restored[name].append(row[name])
            looked.num_marked += row["lesion_pixels"] is not None
            if row["lesion_mae"] is not None:
                looked.lesion_owners.append(row["owner"])
                looked.lesion_mae.append(row["lesion_mae"])
        if row["features"] is None:
            looked.num_broken += 1
        else:
            looked.features.append([np.frombuffer(vector, np.float32) for vector in row["features"]])
        if row["answers"] is not None:
            looked.answers.append(np.frombuffer(row["answers"], np.float64))
            looked.answered_owners.append(row["owner"])
        if row["image"] is not None:
            image = np.frombuffer(row["image"], np.float16).reshape(shape).astype(np.float32)
            looked.kept_owners.append(row["owner"])
            looked.kept.append((row["slice_mm"], image))
    return dict(found)
