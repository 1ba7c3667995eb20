"""The audit's question, asked of samples while they are made: which are nearer to training images than its limits?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from mrigen.audit.block_files import BlockMaker
from mrigen.audit.decision import CopyLimits, Query, too_few
from mrigen.audit.nearest import NeighbourFinder, find_all, read_results
from mrigen.audit.pairing import AuditPlan
from mrigen.config import Config
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.images.index import Group
from mrigen.labels import Cell
from mrigen.samples import Sample
from mrigen.storage import Location

REASON = "near a training image"


def require_held_out(plan: AuditPlan, cells: Sequence[Cell]) -> None:
    """Raise InputError for one of `cells` with too few held-out images to have a limit."""
    owners: dict[Cell, list[str]] = defaultdict(list)
    for search in plan.searches:
        if search.group == Group.HELD_OUT:
            owners[search.cell] += [row.owner for number in search.queries for row in plan.blocks[number].rows]
    _require(owners, cells)


def _require(owners: Mapping[Cell, Sequence[str]], cells: Sequence[Cell]) -> None:
    for cell in cells:
        if reason := too_few(owners.get(cell, ())):
            raise InputError(f"--gates copies: {cell} has {reason}; ask for other --cells")


def copy_limits(
    plan: AuditPlan, cells: Sequence[Cell], config: Config, folder: Location, each: Each
) -> dict[Cell, float]:
    """The similarity to training images above which the audit flags samples of these cells; what is found is kept in
    `folder`.

    Raises InputError for a cell with too few held-out images.
    """
    numbers = [number for number, search in enumerate(plan.searches) if search.cell in cells]
    if numbers:
        find_all(plan, numbers, config, folder, each)
    held_out: dict[Cell, list[Query]] = defaultdict(list)
    for search, found in read_results(plan, folder, numbers):
        held_out[search.cell] += [query for query in found if query.training and query.held_out]
    _require({cell: [query.owner for query in queries] for cell, queries in held_out.items()}, cells)
    return {cell: CopyLimits.of(held_out[cell], config.audit.percentile).similarity for cell in cells}


class CopyGate:
    """Rejects samples that `mrigen audit` would flag; the blocks of training images lie in `folder`."""

    def __init__(
        self, plan: AuditPlan, limits: Mapping[Cell, float], config: Config, folder: Location, device: str
    ) -> None:
        self._limits = limits
        self._maker = BlockMaker(plan, config, folder, device)
        self._finder = NeighbourFinder(plan, config, folder, device)
        # Limits are of training images alone.
        self._searches = {search.cell: replace(search, group=Group.GENERATED, held_out=()) for search in plan.searches}

    def __call__(self, samples: Sequence[Sample]) -> list[str | None]:
        """Why each sample is rejected, None where it is not."""
        cells = [sample.request.cell for sample in samples]
        found: list[str | None] = [None] * len(samples)
        for cell in dict.fromkeys(cells):
            places = [place for place, own in enumerate(cells) if own == cell]
            names = [str(place) for place in places]
            with torch.inference_mode():
                block = self._maker.described(names, names, np.stack([samples[place].image for place in places]))
                queries = self._finder.among(block, self._searches[cell])
            for place, query in zip(places, queries, strict=True):
                if query.training is not None and query.training.similarity > self._limits[cell]:
                    found[place] = REASON
        return found
