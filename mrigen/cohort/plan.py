"""What a data set will hold, before any image is made: one row a sample, cut into shards."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.sampling import sample_seed
from mrigen.storage import Location

PLAN = "plan.parquet"
PLAN_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("shard", pa.int64()),
        ("pathology", pa.string()),
        ("modality", pa.string()),
        ("index", pa.int64()),
        ("seed", pa.uint64()),
    ]
)


@dataclass(frozen=True)
class CohortPlan:
    """Everything that decides a data set's images; the same plan gives the same bytes."""

    model_sha256: str
    cells: tuple[Cell, ...]
    per_cell: int
    seed: int
    sampler: SamplerConfig
    slice_mm: float | None
    shard_size: int

    @property
    def num_samples(self) -> int:
        """Samples in all."""
        return len(self.cells) * self.per_cell

    @property
    def num_shards(self) -> int:
        """Shards in all; the last may be short."""
        return -(-self.num_samples // self.shard_size)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-able values."""
        return {
            "model_sha256": self.model_sha256,
            "cells": [str(cell) for cell in self.cells],
            "per_cell": self.per_cell,
            "seed": self.seed,
            "sampler": self.sampler.model_dump(mode="json"),
            "slice_mm": self.slice_mm,
            "shard_size": self.shard_size,
        }

    def digest(self) -> str:
        """Hash that names the plan."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def shards(self) -> Iterator[pa.Table]:
        """The rows of one shard after the other: cell by cell, so that a shard's samples lie together."""
        for shard in range(self.num_shards):
            first = shard * self.shard_size
            rows = []
            for position in range(first, min(first + self.shard_size, self.num_samples)):
                cell, index = self.cells[position // self.per_cell], position % self.per_cell
                rows.append(
                    {
                        "id": f"{cell.pathology}{cell.modality}{index:07d}",
                        "shard": shard,
                        "pathology": str(cell.pathology),
                        "modality": str(cell.modality),
                        "index": index,
                        "seed": sample_seed(self.seed, cell, index),
                    }
                )
            yield pa.Table.from_pylist(rows, PLAN_SCHEMA)


def write_plan(plan: CohortPlan, folder: Location) -> None:
    """Publish the plan into a data set's folder, one row group a shard; an equal one that stands there stays.

    Raises InputError if the folder holds the plan of another data set, or files of anything else.
    """
    target = folder / PLAN
    if target.is_file():
        with target.filesystem.open_input_file(target.path) as file:
            standing = (pq.read_schema(file).metadata or {}).get(b"digest", b"").decode()
        if standing != plan.digest():
            raise InputError(
                f"{folder} holds a data set of another plan (model, cells, number, seed or sampler differ): "
                "use another folder for --out"
            )
        return
    if folder.files():
        raise InputError(f"{folder} is not empty and holds no {PLAN}: use a new folder for --out")
    metadata = {"digest": plan.digest(), "plan": json.dumps(plan.to_json())}
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, PLAN_SCHEMA.with_metadata(metadata), compression="zstd") as writer:
        for table in plan.shards():
            writer.write_table(table, row_group_size=plan.shard_size)
    target.write_bytes(buffer.getvalue())


def read_shard(folder: Location, shard: int) -> list[dict[str, Any]]:
    """The rows of one shard of the plan that stands in `folder`."""
    target = folder / PLAN
    with target.filesystem.open_input_file(target.path) as file:
        rows: list[dict[str, Any]] = pq.ParquetFile(file).read_row_group(shard).to_pylist()
    return rows
