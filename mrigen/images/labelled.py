"""Images in memory, with the cell and the owner of each: what classifiers are trained on and asked about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from mrigen.images.index import ImageIndex, ImageRow, hash_order, in_file_order
from mrigen.labels import Cell, Modality, all_cells
from mrigen.metrics.resampling import Codes
from mrigen.records import read_image_file, tensor_numpy
from mrigen.storage import Location

Pixels = np.ndarray[Any, np.dtype[np.float16]]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """`pixels` (N, *spatial) in [-1, 1], and the cell and the owner of each: a subject, or a sample its own."""

    pixels: Pixels
    cells: tuple[Cell, ...]
    owners: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.cells) == len(self.owners):
            raise ValueError("pixels, cells and owners differ in length")

    def __len__(self) -> int:
        return len(self.cells)

    @classmethod
    def read(cls, index: ImageIndex, rows: Sequence[ImageRow]) -> LabelledImages:
        """The pixels of some rows of an index, file by file. Raises InputError for a damaged file."""
        ordered = in_file_order(rows)
        pixels = [np.empty((0, *(index.shape or ())), np.float16), *read_pixels(index.files, ordered)]
        return cls(np.concatenate(pixels), tuple(row.cell for row in ordered), tuple(row.owner for row in ordered))

    def finite(self) -> LabelledImages:
        """Those images whose every value is finite."""
        kept = np.flatnonzero(np.isfinite(self.pixels).all(axis=tuple(range(1, self.pixels.ndim))))
        return LabelledImages(
            self.pixels[kept], tuple(self.cells[i] for i in kept), tuple(self.owners[i] for i in kept)
        )


def read_pixels(files: Sequence[Location], rows: Iterable[ImageRow]) -> Iterator[Pixels]:
    """The images (N, *spatial) of rows that come in the order of the files, file by file. Raises InputError for a
    damaged file."""
    for number, some in groupby(rows, key=lambda row: row.file):
        column = read_image_file(files[number])["image"]
        yield tensor_numpy(column.take(pa.array([row.row for row in some]))).astype(np.float16)


def choose_per_cell(rows: Sequence[ImageRow], count: int) -> list[ImageRow]:
    """At most `count` rows of each cell, as if at random, the same for any order of `rows`; cell by cell."""
    by_cell: dict[Cell, list[ImageRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: hash_order(row.id)):
        by_cell[row.cell].append(row)
    return [row for cell in all_cells() for row in by_cell[cell][:count]]


def cell_codes(cells: Sequence[Cell]) -> Codes:
    """Cells as numbers: their places in `all_cells()`."""
    return pathology_codes(cells) * len(Modality) + modality_codes(cells)


def pathology_codes(cells: Sequence[Cell]) -> Codes:
    """The pathologies of cells as numbers: their rows in the embedding table."""
    return np.array([cell.pathology.row for cell in cells], np.int64)


def modality_codes(cells: Sequence[Cell]) -> Codes:
    """The modalities of cells as numbers: their rows in the embedding table."""
    return np.array([cell.modality.row for cell in cells], np.int64)
