"""The nearest real images of every sample and held-out image, a Parquet file for each search.

A row is a query with its nearest image of either set. Blocks of references pass by one after another: what is held are
the shortlists, the images on them for ALIGNED_AT_ONCE queries, and the reader's blocks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from mrigen.audit.block_files import BlockImages, BlockMaker, BlockReader
from mrigen.audit.decision import Audit, Neighbour, Query, decide, decide_cell
from mrigen.audit.likeness import Alignment, Shortlist, align
from mrigen.audit.pairing import AuditPlan, Search
from mrigen.config import AuditConfig, Config
from mrigen.each import Each
from mrigen.images.index import Group
from mrigen.labels import Cell
from mrigen.preprocess import mirrors
from mrigen.records import is_whole, read_file, write_table
from mrigen.storage import Location

ALIGNED_AT_ONCE = 64
"""Queries whose shortlisted images are gathered together."""

_ALIGNMENT = pa.struct([("correlation", pa.float64()), ("mirrored", pa.bool_()), ("shift", pa.list_(pa.int32()))])
_NEIGHBOUR = pa.struct([("id", pa.string()), ("cosine", pa.float64()), ("alignment", _ALIGNMENT)])
RESULT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("owner", pa.string()),
        ("training", _NEIGHBOUR),
        ("held_out", _NEIGHBOUR),
        ("fault", pa.string()),
    ]
)


def result_file(folder: Location, number: int) -> Location:
    """Where the result of search `number` lies."""
    return folder / f"result-{number:06d}.parquet"


class NeighbourFinder:
    """Does one search after another; needs the blocks of all shards."""

    def __init__(self, plan: AuditPlan, config: Config, folder: Location, device: str = "cpu") -> None:
        """The blocks lie in `folder`, and results are left there."""
        self._plan, self._settings, self._folder = plan, config.audit, folder
        self._mirror, self._device = mirrors(config.data.plane), torch.device(device)
        self._blocks = BlockReader(plan, folder)

    def find(self, number: int) -> None:
        """Publish the result of search `number`, unless it is there and whole."""
        search, file = self._plan.searches[number], result_file(self._folder, number)
        ids = [row.id for n in search.queries for row in self._plan.blocks[n].rows]
        if not is_whole(file, ids, RESULT_SCHEMA):
            with torch.inference_mode():
                queries = BlockImages.joined([self._blocks[n] for n in search.queries])
                rows = [dataclasses.asdict(query) for query in self.among(queries, search)]
            write_table(pa.Table.from_pylist(rows, schema=RESULT_SCHEMA), file)

    def among(self, queries: BlockImages, search: Search) -> list[Query]:
        """Images with their neighbours among those of a search."""
        # A person is not compared with themselves; a sample has no person, whatever its name.
        people = queries.owners if search.group == Group.HELD_OUT else np.full(len(queries.ids), "")
        training, held_out = (
            self._nearest(queries, people, references) for references in (search.training, search.held_out)
        )
        return [
            Query(queries.ids[i], str(queries.owners[i]), training[i], held_out[i], fault)
            for i, fault in enumerate(queries.faults)
        ]

    def _nearest(self, queries: BlockImages, people: Any, references: Sequence[int]) -> list[Neighbour | None]:
        """The nearest reference of each query that is sound, of other people than `people`."""
        listed = self._shortlisted(queries, people, references)
        starts = np.cumsum([0, *(len(self._plan.blocks[number].rows) for number in references)])
        found: list[Neighbour | None] = [None] * len(queries.ids)
        asked = [i for i, fault in enumerate(queries.faults) if fault is None and len(listed[i])]
        for start in range(0, len(asked), ALIGNED_AT_ONCE):
            some = asked[start : start + ALIGNED_AT_ONCE]
            wanted = np.unique(np.concatenate([listed[i] for i in some]))
            owners = np.searchsorted(starts, wanted, side="right") - 1
            candidates = BlockImages.joined(
                [
                    self._blocks[references[number]].taken(wanted[owners == number] - starts[number])
                    for number in np.unique(owners)
                ]
            )
            for i in some:
                chosen = candidates.taken(np.searchsorted(wanted, listed[i]))
                found[i] = self._best(queries.images[i], queries.features[i], chosen)
        return found

    def _shortlisted(self, queries: BlockImages, people: Any, references: Sequence[int]) -> list[Any]:
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

    def _best(self, image: Any, features: Any, candidates: BlockImages) -> Neighbour:
        """The candidate whose pixels are most alike; of equals the first in the order of the files."""
        here, there = (torch.from_numpy(pixels).float().to(self._device) for pixels in (image, candidates.images))
        found = align(here, there, max_shift=self._settings.max_shift, mirror=self._mirror)
        best = max(range(len(found)), key=lambda k: found[k].correlation)
        return Neighbour(candidates.ids[best], float(features @ candidates.features[best]), found[best])


def find_all(plan: AuditPlan, numbers: Sequence[int], config: Config, folder: Location, each: Each) -> None:
    """Publish in `folder` the results of the searches of these numbers, and the blocks that they meet."""
    searches = [plan.searches[number] for number in numbers]
    met = {block for one in searches for block in (*one.queries, *one.training, *one.held_out)}
    shards = [shard for shard in plan.shards if met.intersection(shard)]
    # The second round needs all of the first.
    make = functools.partial(BlockMaker, plan, config, folder, each.device)
    for _ in each(BlockMaker.make, shards, "audit: features", make):
        pass
    find = functools.partial(NeighbourFinder, plan, config, folder, each.device)
    for _ in each(NeighbourFinder.find, numbers, "audit: neighbours", find):
        pass


def read_results(
    plan: AuditPlan, folder: Location, numbers: Sequence[int] | None = None
) -> Iterator[tuple[Search, list[Query]]]:
    """The result of every search, or of those of some numbers, in the plan's order."""
    for number in range(len(plan.searches)) if numbers is None else numbers:
        search = plan.searches[number]
        rows = read_file(result_file(folder, number)).to_pylist()
        both = ({name: _neighbour_of(row[name]) for name in ("training", "held_out")} for row in rows)
        yield search, [Query(**{**row, **neighbours}) for row, neighbours in zip(rows, both, strict=True)]


def decide_by_results(plan: AuditPlan, folder: Location, settings: AuditConfig) -> Audit:
    """The decision once every search is done."""
    queries: dict[tuple[Cell, Group], list[Query]] = defaultdict(list)
    for search, found in read_results(plan, folder):
        queries[search.cell, search.group] += found
    cells = []
    for cell, counterparts in plan.counterparts.items():
        samples, held_out = (queries[cell, group] for group in (Group.GENERATED, Group.HELD_OUT))
        cells.append(decide_cell(cell, counterparts.references, samples, held_out, settings))
    return decide(cells, settings)


def _neighbour_of(tree: dict[str, Any] | None) -> Neighbour | None:
    if tree is None:
        return None
    found = tree["alignment"]
    return Neighbour(
        tree["id"], tree["cosine"], Alignment(found["correlation"], found["mirrored"], tuple(found["shift"]))
    )
