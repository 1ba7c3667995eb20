"""The two kinds of work of an audit, each resumable file by file.

1. A shard: images -> a file for each block, `id, owner, fault, features, spectrum` (unit length, float32), `image`
   (float16).
2. A comparison: queries and the blocks they meet -> a file with a row for each query and its nearest image of
   either set. Blocks of references pass by one after another: what is held are the shortlists, the images on them for
   ALIGNED_AT_ONCE queries, and the reader's blocks.
"""

from __future__ import annotations

import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mrigen.audit.block_files import BlockData, BlockReader, block_file, fixed
from mrigen.audit.memorisation import Audit, Neighbour, Query, judge, judge_cell
from mrigen.audit.neighbours import MIN_DEVIATION, Alignment, Shortlist, align, unit_features, unit_spectrum
from mrigen.audit.pairing import AuditPlan, Comparison
from mrigen.config import AuditConfig
from mrigen.images.index import Group, ImageRow
from mrigen.labels import Cell
from mrigen.records import read_file, read_image_file, tensor_numpy, write_table
from mrigen.storage import Location

Pixels = np.ndarray[Any, np.dtype[np.float32]]

COMPUTE_BATCH = 32
ALIGNED_AT_ONCE = 64
"""Queries whose shortlisted images are gathered together."""

_SETS = ("training", "held_out")
RESULT_SCHEMA = pa.schema(
    [("id", pa.string()), ("owner", pa.string()), ("fault", pa.string())]
    + [
        (f"{name}_{key}", kind)
        for name in _SETS
        for key, kind in (
            ("id", pa.string()),
            ("cosine", pa.float64()),
            ("similarity", pa.float64()),
            ("mirrored", pa.bool_()),
            ("shift_x", pa.int32()),
            ("shift_y", pa.int32()),
        )
    ]
)


def result_file(parts: Location, number: int) -> Location:
    """Where the result of comparison `number` lies."""
    return parts / f"result-{number:06d}.parquet"


def is_whole(file: Location, ids: Sequence[str]) -> bool:
    """Whether a file is there, readable and has a row for each of `ids`."""
    if not file.is_file():
        return False
    try:
        table = pq.read_table(io.BytesIO(file.read_bytes()), page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):
        return False
    return "id" in table.column_names and table["id"].to_pylist() == list(ids)


def can_mirror(plane: str) -> bool:
    """Whether the first axis of a slice runs from left to right."""
    return plane in ("axial", "coronal")


class ShardWorker:
    """Makes the blocks of one shard after another."""

    def __init__(
        self,
        plan: AuditPlan,
        extract: Callable[[Tensor], Tensor],
        parts: Location,
        *,
        mirror: bool,
        device: str = "cpu",
    ) -> None:
        """`extract` takes images (B, 1, X, Y) in [-1, 1] to features (B, F), on `device`."""
        self._plan, self._extract, self._parts = plan, extract, parts
        self._mirror, self._device = mirror, torch.device(device)

    def __call__(self, shard: int) -> None:
        """Publish the blocks of a shard, but those that are there and whole."""
        numbers = self._plan.shards[shard]
        blocks = {n: self._plan.blocks[n].rows for n in numbers}
        missing = {
            n: rows for n, rows in blocks.items() if not is_whole(block_file(self._parts, n), [row.id for row in rows])
        }
        pixels = self._read([row for rows in missing.values() for row in rows])
        for number, rows in missing.items():
            write_table(self._block(rows, np.stack([pixels[row] for row in rows])), block_file(self._parts, number))

    def _read(self, rows: Sequence[ImageRow]) -> dict[ImageRow, Pixels]:
        pixels: dict[ImageRow, Pixels] = {}
        ordered = sorted(rows, key=lambda row: (row.file, row.row))
        for number, group in groupby(ordered, lambda row: row.file):
            some = list(group)
            column = read_image_file(self._plan.files[number])["image"]
            images = tensor_numpy(column.take(pa.array([row.row for row in some])))
            pixels.update(zip(some, images, strict=True))
        return pixels

    def _block(self, rows: Sequence[ImageRow], pixels: Pixels) -> pa.Table:
        faults = [_fault(image) for image in pixels]
        sound = np.nan_to_num(pixels, posinf=1.0, neginf=-1.0)
        features, spectra = [], []
        with torch.inference_mode():
            for batch in np.split(sound, range(COMPUTE_BATCH, len(sound), COMPUTE_BATCH)):
                images = torch.from_numpy(batch)[:, None].to(self._device)
                features.append(unit_features(self._extract, images, mirror=self._mirror).cpu())
                spectra.append(unit_spectrum(images).cpu())
        columns = {
            "id": pa.array([row.id for row in rows]),
            "owner": pa.array([row.owner for row in rows]),
            "fault": pa.array(faults, pa.string()),
            "features": fixed(torch.cat(features).numpy()),
            "spectrum": fixed(torch.cat(spectra).numpy()),
            "image": fixed(sound.astype(np.float16).reshape(len(rows), -1)),
        }
        return pa.table(columns)


class ComparisonWorker:
    """Does one comparison after another; needs the blocks of all shards."""

    def __init__(
        self,
        plan: AuditPlan,
        shape: tuple[int, ...],
        settings: AuditConfig,
        parts: Location,
        *,
        mirror: bool,
        device: str = "cpu",
    ) -> None:
        """`shape` is that of the images, (X, Y)."""
        self._plan, self._settings, self._parts = plan, settings, parts
        self._mirror, self._device = mirror, torch.device(device)
        self._blocks = BlockReader(parts, shape)

    def __call__(self, number: int) -> None:
        """Publish the result of comparison `number`, unless it is there and whole."""
        comparison = self._plan.comparisons[number]
        ids = [row.id for n in comparison.queries for row in self._plan.blocks[n].rows]
        file = result_file(self._parts, number)
        if not is_whole(file, ids):
            with torch.inference_mode():
                rows = [_result_row(query) for query in self.compare(comparison)]
            write_table(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA), file)

    def compare(self, comparison: Comparison) -> list[Query]:
        """The queries of a comparison with their neighbours."""
        queries = BlockData.joined([self._blocks[n] for n in comparison.queries])
        # A person is not compared with themselves; a sample has no person, whatever its name.
        people = queries.owners if comparison.group == Group.HELD_OUT else np.full(len(queries.ids), "")
        training, held_out = (
            self._nearest(queries, people, references) for references in (comparison.training, comparison.held_out)
        )
        return [
            Query(queries.ids[i], str(queries.owners[i]), training[i], held_out[i], fault)
            for i, fault in enumerate(queries.faults)
        ]

    def _nearest(self, queries: BlockData, people: Any, references: Sequence[int]) -> list[Neighbour | None]:
        """The nearest reference of each query that is sound, of other people than `people`."""
        listed = self._shortlisted(queries, people, references)
        starts = np.cumsum([0, *(len(self._plan.blocks[number].rows) for number in references)])
        found: list[Neighbour | None] = [None] * len(queries.ids)
        asked = [i for i, fault in enumerate(queries.faults) if fault is None and len(listed[i])]
        for start in range(0, len(asked), ALIGNED_AT_ONCE):
            some = asked[start : start + ALIGNED_AT_ONCE]
            wanted = np.unique(np.concatenate([listed[i] for i in some]))
            owners = np.searchsorted(starts, wanted, side="right") - 1
            candidates = BlockData.joined(
                [
                    self._blocks[references[number]].taken(wanted[owners == number] - starts[number])
                    for number in np.unique(owners)
                ]
            )
            for i in some:
                chosen = candidates.taken(np.searchsorted(wanted, listed[i]))
                found[i] = self._best(queries.images[i], queries.features[i], chosen)
        return found

    def _shortlisted(self, queries: BlockData, people: Any, references: Sequence[int]) -> list[Any]:
        """For each query the places of the references worth a look, half of them by either descriptor."""
        half = math.ceil(self._settings.shortlist / 2)
        names = ("features", "spectrum")
        lists = {name: Shortlist.empty(len(queries.ids), half) for name in names}
        asked = {name: torch.from_numpy(getattr(queries, name)).to(self._device) for name in names}
        for number in references:
            block = self._blocks[number]
            allowed = torch.from_numpy((people[:, None] != block.owners[None, :]) & block.sound[None, :])
            for name in names:
                vectors = torch.from_numpy(getattr(block, name)).to(self._device)
                lists[name] = lists[name].extended(asked[name], vectors, allowed)
        places = torch.cat([lists[name].places for name in names], dim=1).numpy()
        return [np.unique(row[row >= 0]) for row in places]

    def _best(self, image: Any, features: Any, candidates: BlockData) -> Neighbour:
        """The candidate whose pixels are most alike; of equals the first in the order of the files."""
        here, there = (torch.from_numpy(pixels).float().to(self._device) for pixels in (image, candidates.images))
        found = align(here, there, max_shift=self._settings.max_shift, mirror=self._mirror)
        best = max(range(len(found)), key=lambda k: found[k].correlation)
        return Neighbour(candidates.ids[best], float(features @ candidates.features[best]), found[best])


def read_results(plan: AuditPlan, parts: Location) -> Iterator[tuple[Comparison, list[Query]]]:
    """The result of every comparison, in the plan's order."""
    for number, comparison in enumerate(plan.comparisons):
        rows = read_file(result_file(parts, number)).to_pylist()
        yield comparison, [_query_of(row) for row in rows]


def judge_results(plan: AuditPlan, parts: Location, settings: AuditConfig) -> Audit:
    """The judgement once every comparison is done."""
    queries: dict[tuple[Cell, Group], list[Query]] = defaultdict(list)
    for comparison, found in read_results(plan, parts):
        queries[comparison.cell, comparison.group] += found
    cells = [
        judge_cell(
            scope.cell,
            scope.references,
            queries[scope.cell, Group.GENERATED],
            queries[scope.cell, Group.HELD_OUT],
            settings,
        )
        for scope in plan.scopes
    ]
    return judge(cells, settings)


def read_images(
    plan: AuditPlan, parts: Location, shape: tuple[int, ...], wanted: set[tuple[Group, str]]
) -> dict[tuple[Group, str], Pixels]:
    """The pixels of some images, by group and id."""
    reader, found = BlockReader(parts, shape), {}
    for number, block in enumerate(plan.blocks):
        rows = [k for k, row in enumerate(block.rows) if (block.group, row.id) in wanted]
        for k in rows:
            found[block.group, block.rows[k].id] = reader[number].images[k].astype(np.float32)
    return found


def _fault(image: Pixels) -> str | None:
    if not np.isfinite(image).all():
        return "not finite"
    return "constant" if float(image.std()) < MIN_DEVIATION else None


def _result_row(query: Query) -> dict[str, Any]:
    row: dict[str, Any] = {"id": query.id, "owner": query.owner, "fault": query.fault}
    for name in _SETS:
        neighbour: Neighbour | None = getattr(query, name)
        if neighbour is not None:
            row |= {
                f"{name}_id": neighbour.id,
                f"{name}_cosine": neighbour.cosine,
                f"{name}_similarity": neighbour.similarity,
                f"{name}_mirrored": neighbour.alignment.mirrored,
                f"{name}_shift_x": neighbour.alignment.shift[0],
                f"{name}_shift_y": neighbour.alignment.shift[1],
            }
    return row


def _query_of(row: dict[str, Any]) -> Query:
    def neighbour(name: str) -> Neighbour | None:
        if row[f"{name}_id"] is None:
            return None
        shift = row[f"{name}_shift_x"], row[f"{name}_shift_y"]
        alignment = Alignment(row[f"{name}_similarity"], row[f"{name}_mirrored"], shift)
        return Neighbour(row[f"{name}_id"], row[f"{name}_cosine"], alignment)

    return Query(row["id"], row["owner"], neighbour("training"), neighbour("held_out"), row["fault"])
