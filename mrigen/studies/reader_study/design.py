"""Which images a study shows, and in which order each reader sees them.

Of every cell as many real as generated images are taken, in pairs of slices at the same height, the real ones of as
many subjects as there are. What is drawn depends on the seed and the images' ids alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator
from scipy.optimize import linear_sum_assignment

from mrigen.config import CellName, Section
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, content_hash, hash_order
from mrigen.images.labelled import choose_per_cell
from mrigen.labels import Cell
from mrigen.metrics.resampling import seeded

SAME_HEIGHT_MM = 4.0
"""Slices of a pair lie no further apart where a cell has enough such pairs."""
_POOL = 600
"""Images of a cell, of each side, among which pairs are looked for."""

Pair = tuple[ImageRow, ImageRow]
"""A real image and a generated one, of the same cell."""
Asked = Literal["pathology", "modality"]


class StudyImage(Section):
    """One image of the study, and the truth of it."""

    id: str
    cell: CellName
    synthetic: bool
    owner: str
    """The subject; of a sample its own id."""
    slice_mm: float


class StudyKey(Section):
    """A study as it was built, with the truth that readers must not see: `key.json`."""

    command: str
    seed: int = Field(ge=0)
    margin: float = Field(gt=0, lt=0.5)
    """Readers whose accuracy lies within this of one half, as shown by a test, cannot tell the images apart."""
    asked: tuple[Asked, ...]
    """What readers are asked besides."""
    num_repeats: int = Field(ge=0)
    images: tuple[StudyImage, ...]
    orders: tuple[tuple[int, ...], ...]
    """For each reader the numbers of the images in the order in which they are shown; repeats come up twice."""
    facts: Mapping[str, str]
    """Where the images are from, in words."""
    notices: tuple[str, ...]

    @model_validator(mode="after")
    def _orders_are_whole(self) -> Self:
        for order in self.orders:
            if set(order) != set(range(len(self.images))) or len(order) != len(self.images) + self.num_repeats:
                raise ValueError("orders: every reader must see every image, and as many again as there are repeats")
        return self

    @property
    def id(self) -> str:
        """A name that tells nothing: readers' answers bear it."""
        return content_hash(self.model_dump(mode="json", include={"seed", "images", "orders", "asked"}))[:16]


class StudyOrder(Section):
    """A study as it is asked for."""

    num_images: PositiveInt = 120
    """Different images, half of them real."""
    num_repeats: int = Field(12, ge=0)
    """How many of them come a second time."""
    num_readers: PositiveInt = 3
    seed: int = Field(0, ge=0)
    margin: float = Field(0.1, gt=0, lt=0.5)
    asked: tuple[Asked, ...] = ()

    @model_validator(mode="after")
    def _is_balanced(self) -> Self:
        for name, count in (("images", self.num_images), ("repeats", self.num_repeats)):
            if count % 2:
                raise ValueError(f"{count} {name} cannot be half real, half generated: take an even number")
        if self.num_repeats > self.num_images:
            raise ValueError(f"{self.num_repeats} of {self.num_images} images cannot be repeated")
        return self


def choose_pairs(real: ImageIndex, generated: ImageIndex, cells: Sequence[Cell], order: StudyOrder) -> list[Pair]:
    """Half as many pairs as images are asked for, the same number of each cell (or one more of some).

    Raises InputError for cells that have too few images.
    """
    count, seed = order.num_images // 2, order.seed
    if count < len(cells):
        raise InputError(f"{order.num_images} images are too few for {len(cells)} cells: two of each are needed")
    shuffled = sorted(cells, key=lambda cell: hash_order(f"{seed}/{cell}"))
    chosen: list[Pair] = []
    for place, cell in enumerate(shuffled):
        wanted = count // len(cells) + (place < count % len(cells))
        there, made = (
            choose_per_cell([row for row in index.rows if row.cell == cell and row.group == group], _POOL)
            for index, group in ((real, Group.HELD_OUT), (generated, Group.GENERATED))
        )
        if min(len(there), len(made)) < wanted:
            raise InputError(
                f"{cell} has {len(there)} held-out real images and {len(made)} samples, {wanted} of each are "
                "needed: generate more of it, ask for fewer --images, or leave it out of --cells"
            )
        chosen += _paired(there, made, wanted, seed)
    return chosen


def furthest_mm(pairs: Sequence[Pair]) -> float:
    """How far apart the slices of a pair are at most."""
    return max(abs(real.slice_mm - made.slice_mm) for real, made in pairs)


def draw_orders(num_pairs: int, order: StudyOrder) -> list[list[int]]:
    """An order for each reader: of images 2k (real) and 2k + 1 (generated) of pair k.

    Repeats, as many real as generated ones, come in the first third and again in the last, so that one is never shown
    twice in a row.
    """
    repeated = seeded("reader study", order.seed, "repeats").permutation(num_pairs)[: order.num_repeats // 2]
    repeats = np.concatenate([2 * repeated, 2 * repeated + 1])
    others = np.setdiff1d(np.arange(2 * num_pairs), repeats)
    orders = []
    for reader in range(order.num_readers):
        generator = seeded("reader study", order.seed, "reader", reader)
        first, middle, last = np.array_split(generator.permutation(others), 3)
        parts = (np.concatenate([repeats, first]), middle, np.concatenate([repeats, last]))
        orders.append([int(number) for part in parts for number in generator.permutation(part)])
    return orders


def study_images(pairs: Sequence[Pair]) -> tuple[StudyImage, ...]:
    """The images of the pairs, the real one of each first."""
    return tuple(
        StudyImage(
            id=row.id,
            cell=str(row.cell),
            synthetic=row.group == Group.GENERATED,
            owner=row.owner,
            slice_mm=round(row.slice_mm, 3),
        )
        for pair in pairs
        for row in pair
    )


def _paired(real: Sequence[ImageRow], made: Sequence[ImageRow], count: int, seed: int) -> list[Pair]:
    """Pairs whose slices lie as near to each other as can be had, as if at random among those of the same height, in
    turns through the subjects."""
    apart = np.abs(np.subtract.outer([row.slice_mm for row in real], [row.slice_mm for row in made]))
    pairs = [(real[i], made[j]) for i, j in zip(*linear_sum_assignment(apart), strict=True)]
    pairs.sort(key=lambda pair: hash_order(f"{seed}/{pair[0].id}"))
    turns: dict[str, int] = defaultdict(int)
    ranked: list[tuple[float, int, int]] = []
    for place, pair in sorted(enumerate(pairs), key=lambda one: _beyond(one[1])):
        ranked.append((_beyond(pair), turns[pair[0].owner], place))
        turns[pair[0].owner] += 1
    return [pairs[place] for *_, place in sorted(ranked)[:count]]


def _beyond(pair: Pair) -> float:
    """How far apart the slices of a pair are, the same for all that pass for one height."""
    return max(furthest_mm([pair]), SAME_HEIGHT_MM)
