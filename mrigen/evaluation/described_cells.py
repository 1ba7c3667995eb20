"""What was seen of all shards of an evaluation, sorted by group and cell.

Rows are put into one order, that of their ids' hashes, before anything is added up: the figures depend neither
on how many workers there were nor on the order in which they finished. Sums that a shard's file already holds are added
in the order of the shards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mrigen.images.index import Group, hash_order
from mrigen.labels import Cell

Slice = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class DescribedCell:
    """What was seen of one group of one cell: a row of `mrigen.evaluation.shard_files` an image, arrays in the place of
    bytes. An image that is not finite counts as broken and has no features."""

    rows: Sequence[Mapping[str, Any]] = ()
    error_sum: np.ndarray[Any, np.dtype[np.float64]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, name: str) -> list[Any]:
        """A column, of those images alone that have it."""
        return [row[name] for row in self.rows if row[name] is not None]

    def owners(self, having: str = "owner") -> list[str]:
        """Whose the images are that have a column."""
        return [row["owner"] for row in self.rows if row[having] is not None]

    @property
    def num_broken(self) -> int:
        """Images that hold values that are not finite."""
        return len(self) - len(self.values("features"))


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
    rows = [_with_arrays(row, shape) for table in tables for row in table.to_pylist()]
    sums: dict[tuple[Group, Cell], Any] = {}
    for row in rows:
        if (errors := row.pop("error_sum")) is not None:
            sums[row["key"]] = sums.get(row["key"], 0.0) + errors
    groups: dict[tuple[Group, Cell], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: hash_order(row["id"])):
        groups[row["key"]].append(row)
    return DescribedImages({key: DescribedCell(some, sums.get(key)) for key, some in groups.items()})


def _with_arrays(row: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """A row of a file with its group and cell as `key`, and with arrays in the place of bytes."""

    def array(name: str, kind: type[np.generic]) -> Any:
        return None if row[name] is None else np.frombuffer(row[name], kind)

    def vectors(name: str) -> Any:
        return row[name] and [np.frombuffer(vector, np.float32) for vector in row[name]]

    image, errors = array("image", np.float16), array("error_sum", np.float64)
    return {
        **row,
        "key": (Group(row["group"]), Cell.parse(row["cell"])),
        "features": vectors("features"),
        "restored_features": vectors("restored_features"),
        "answers": array("answers", np.float64),
        "image": None if image is None else image.reshape(shape).astype(np.float32),
        "error_sum": None if errors is None else errors.reshape(shape),
    }
