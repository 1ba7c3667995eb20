"""Training rows from memory-mapped Arrow, in an order that no number of workers and no restart changes."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.models.conditioning import Conditions
from mrigen.records import read_file
from mrigen.storage import Location

Array = np.ndarray[Any, Any]


class TrainingRows:
    """Rows of one split, their tensors memory-mapped: what the training loops index.

    Attributes: `cells` and `slice_mm` of every row, in the order of the files.
    """

    def __init__(
        self,
        folder: Location,
        split: str,
        tensors: Sequence[str],
        scratch: Path,
        without: Collection[Cell] = (),
    ) -> None:
        """Copy the rows of `split` from the Parquet files of `folder` to an Arrow file in `scratch`, and map it.

        Cells in `without` are left out. Raises InputError if `folder` holds no Parquet file.
        """
        files = folder.files(".parquet")
        if not files:
            raise InputError(f"no Parquet file in {folder}: run the stage before this one first")
        excluded = {str(cell) for cell in without}
        path = scratch / f"{split}-{'-'.join(tensors)}.arrow"
        writer: pa.ipc.RecordBatchFileWriter | None = None
        columns = ["pathology", "modality", "slice_mm", *tensors]
        for file in files:
            table = read_file(file, ["split", *columns])
            rows = table.select(["split", "pathology", "modality"]).to_pylist()
            keep = [row["split"] == split and f"{row['pathology']}:{row['modality']}" not in excluded for row in rows]
            table = table.filter(pa.array(keep, pa.bool_())).select(columns)
            writer = writer or pa.ipc.new_file(path, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()
        self._mapped = pa.memory_map(str(path))
        table = pa.ipc.open_file(self._mapped).read_all()
        self.cells = [
            Cell(Pathology(p), Modality(m))
            for p, m in zip(table["pathology"].to_pylist(), table["modality"].to_pylist(), strict=True)
        ]
        self.slice_mm: Array = np.asarray(table["slice_mm"].to_numpy(), np.float32)
        self._chunks = {
            name: [chunk.to_numpy_ndarray() for chunk in table[name].chunks if len(chunk)] for name in tensors
        }
        first = next(iter(self._chunks.values()))
        self._starts = np.cumsum([0, *(len(chunk) for chunk in first)])

    def __len__(self) -> int:
        return len(self.cells)

    def tensor(self, name: str, rows: Sequence[int]) -> torch.Tensor:
        """The named tensor column at `rows`, float32 (rows, *shape)."""
        chunks = self._chunks[name]
        where = np.searchsorted(self._starts, rows, side="right") - 1
        picked = [chunks[chunk][row - self._starts[chunk]] for chunk, row in zip(where, rows, strict=True)]
        return torch.from_numpy(np.stack(picked).astype(np.float32))

    def conditions(self, rows: Sequence[int]) -> Conditions:
        """The conditions at `rows`."""
        return Conditions.of([self.cells[row] for row in rows], [float(self.slice_mm[row]) for row in rows])


def batch_rows(num_rows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Rows of the global batch of `step`: a window of the endless permutation(seed, 0), permutation(seed, 1), ..."""
    rows: list[int] = []
    position = step * batch_size
    while len(rows) < batch_size:
        epoch, start = divmod(position, num_rows)
        taken = _permutation(num_rows, seed, epoch)[start : start + batch_size - len(rows)]
        rows.extend(int(row) for row in taken)
        position += len(taken)
    return rows


@functools.lru_cache(maxsize=2)
def _permutation(num_rows: int, seed: int, epoch: int) -> Array:
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one training step, the same after a resume."""
    state = np.random.SeedSequence([seed, step]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
