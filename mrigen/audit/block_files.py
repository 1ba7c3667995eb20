"""Blocks of images on disk: their descriptors and pixels, one Parquet file each, and a reader with bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa

from mrigen.records import read_file
from mrigen.storage import Location

CACHE_BYTES = 512 * 2**20
"""Features and pixels of blocks that a worker keeps for the next comparison."""


def block_file(parts: Location, number: int) -> Location:
    """Where block `number` lies."""
    return parts / f"block-{number:06d}.parquet"


def fixed(values: Any) -> pa.Array:
    """(R, N) -> a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


@dataclass(frozen=True)
class BlockData:
    """The content of a block."""

    ids: list[str]
    owners: Any
    faults: list[str | None]
    features: Any
    """(R, F) float32."""
    spectrum: Any
    """(R, G) float32."""
    images: Any
    """(R, X, Y) float16."""

    @classmethod
    def joined(cls, blocks: Sequence[BlockData]) -> Self:
        """Blocks one after another."""
        return cls(
            [name for block in blocks for name in block.ids],
            np.concatenate([block.owners for block in blocks]),
            [fault for block in blocks for fault in block.faults],
            np.concatenate([block.features for block in blocks]),
            np.concatenate([block.spectrum for block in blocks]),
            np.concatenate([block.images for block in blocks]),
        )

    def taken(self, rows: Any) -> BlockData:
        """Some of its images."""
        return BlockData(
            [self.ids[row] for row in rows],
            self.owners[rows],
            [self.faults[row] for row in rows],
            self.features[rows],
            self.spectrum[rows],
            self.images[rows],
        )

    @cached_property
    def sound(self) -> Any:
        """Which images can be compared, (R,)."""
        return np.array([fault is None for fault in self.faults])

    @property
    def num_bytes(self) -> int:
        """Memory of descriptors and pixels."""
        return int(self.features.nbytes + self.spectrum.nbytes + self.images.nbytes)


class BlockReader:
    """Blocks by their numbers; keeps those read last, as many as fit into CACHE_BYTES."""

    def __init__(self, parts: Location, shape: tuple[int, ...]) -> None:
        self._parts, self._shape = parts, shape
        self._kept: OrderedDict[int, BlockData] = OrderedDict()
        self.num_bytes = 0

    def __getitem__(self, number: int) -> BlockData:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        table = read_file(block_file(self._parts, number))
        block = BlockData(
            table["id"].to_pylist(),
            np.array(table["owner"].to_pylist()),
            table["fault"].to_pylist(),
            _unfixed(table["features"]),
            _unfixed(table["spectrum"]),
            _unfixed(table["image"]).reshape(-1, *self._shape),
        )
        self._kept[number] = block
        self.num_bytes += block.num_bytes
        while self.num_bytes > CACHE_BYTES and len(self._kept) > 1:
            self.num_bytes -= self._kept.popitem(last=False)[1].num_bytes
        return block


def _unfixed(column: pa.ChunkedArray) -> Any:
    """A column of fixed-size lists -> (R, N)."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return np.array(array.flatten()).reshape(len(array), -1)
