"""What an audit compares with what: blocks of images of one cell, and which blocks meet.

Nothing here depends on who works: the same images give the same blocks in the same order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mrigen import __version__
from mrigen.audit.decision import MIN_HELD_OUT, MIN_HELD_OUT_OWNERS
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, content_hash, in_file_order, joined
from mrigen.labels import Cell, all_cells
from mrigen.storage import Location

BLOCK_ROWS = 256
"""Images read at a time, and queries of one search."""

Rows = Mapping[tuple[Group, Cell], Sequence[ImageRow]]


@dataclass(frozen=True)
class CellBlock:
    """Images of one group and one cell, in the order of the files."""

    group: Group
    cell: Cell
    rows: tuple[ImageRow, ...]


@dataclass(frozen=True)
class Counterparts:
    """What the samples of one cell are compared with: real images of `references`, its own cell if it was trained.

    The yardstick are the held-out images of the cells `yardstick`: its own, or where an untrained cell has too few,
    those of `references`.
    """

    references: tuple[Cell, ...]
    yardstick: tuple[Cell, ...]


@dataclass(frozen=True)
class Search:
    """For the neighbours of some images: blocks of them, BLOCK_ROWS images at the most, and the blocks of training and
    held-out images among which they are looked for."""

    cell: Cell
    group: Group
    queries: tuple[int, ...]
    training: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class AuditPlan:
    """All that is described and compared: `shards` are the numbers of the blocks that are made at one go, from
    neighbouring rows of files."""

    files: tuple[Location, ...]
    blocks: tuple[CellBlock, ...]
    shards: tuple[tuple[int, ...], ...]
    counterparts: Mapping[Cell, Counterparts]
    """Of every cell that has samples, or will."""
    searches: tuple[Search, ...]
    shape: tuple[int, ...]
    """Of every image, (X, Y)."""
    digest: str
    """A hash of all that the results depend on."""


def plan_audit(real: ImageIndex, generated: ImageIndex, config: Config, expected: Sequence[Cell] = ()) -> AuditPlan:
    """Every sample with the training and the held-out images of its cell, or of the trained cells nearest to it;
    `expected` are cells whose samples are still to come.

    Raises InputError if the images are not slices, differ in shape, or none was trained on or held out.
    """
    images = joined(real, generated)
    if real.shape and len(real.shape) != 2:
        raise InputError(f"the images are volumes of shape {list(real.shape)}: only slices can be audited so far")
    untrained = _untrained_cells(images.rows, config)
    rows = [row for row in images.rows if row.group != Group.REFERENCE or row.cell not in untrained]
    for group, remedy in (
        (Group.REFERENCE, "no training image that a model was trained on"),
        (Group.HELD_OUT, "no held-out image: choose another --split, or prepare with a larger data.test_fraction"),
        (Group.GENERATED, "no generated image: run `mrigen generate` first"),
    ):
        if not any(row.group == group for row in rows) and not (expected and group == Group.GENERATED):
            raise InputError(f"there is nothing to audit: {remedy}")
    by_group: dict[tuple[Group, Cell], list[ImageRow]] = defaultdict(list)
    for row in rows:
        by_group[row.group, row.cell].append(row)
    made = [cell for cell in all_cells() if cell in expected or by_group.get((Group.GENERATED, cell))]
    counterparts = {cell: _counterparts_of(cell, by_group, untrained) for cell in made}
    blocks: list[CellBlock] = []
    shards: list[tuple[int, ...]] = []
    for shard in _cut(rows):
        shards.append(tuple(range(len(blocks), len(blocks) + len(shard))))
        blocks += shard
    searches = tuple(search for cell, one in counterparts.items() for search in _searches(cell, one, blocks))
    return AuditPlan(
        images.files,
        tuple(blocks),
        tuple(shards),
        counterparts,
        searches,
        real.shape or (),
        _digest(blocks, counterparts, images.hashes, config),
    )


def _untrained_cells(rows: Sequence[ImageRow], config: Config) -> frozenset[Cell]:
    """The cells whose images, even those of training subjects, no model saw: as the samples say, or the settings."""
    said = {row.cell for row in rows if row.group == Group.GENERATED and not row.trained}
    seen = {row.cell for row in rows if row.group == Group.REFERENCE}
    return frozenset(
        cell for cell in all_cells() if cell in said or cell not in seen or str(cell) in config.held_out_cells
    )


def _counterparts_of(cell: Cell, rows: Rows, untrained: frozenset[Cell]) -> Counterparts:
    if cell not in untrained:
        return Counterparts((cell,), (cell,))
    near = tuple(
        other
        for other in all_cells()
        if other not in untrained and (other.pathology == cell.pathology or other.modality == cell.modality)
    )
    own = rows.get((Group.HELD_OUT, cell), ())
    enough = len(own) >= MIN_HELD_OUT and len({row.owner for row in own}) >= MIN_HELD_OUT_OWNERS
    return Counterparts(near, (cell,) if enough else near)


def _cut(rows: Sequence[ImageRow]) -> Iterator[list[CellBlock]]:
    """Shards of BLOCK_ROWS rows of one group in the order of the files, and in each a block for each cell."""
    for group in Group:
        ordered = in_file_order(row for row in rows if row.group == group)
        for start in range(0, len(ordered), BLOCK_ROWS):
            shard: dict[Cell, list[ImageRow]] = defaultdict(list)
            for row in ordered[start : start + BLOCK_ROWS]:
                shard[row.cell].append(row)
            yield [CellBlock(group, cell, tuple(shard[cell])) for cell in all_cells() if cell in shard]


def _searches(cell: Cell, counterparts: Counterparts, blocks: Sequence[CellBlock]) -> Iterator[Search]:
    def chosen(group: Group, cells: tuple[Cell, ...]) -> tuple[int, ...]:
        return tuple(n for n, block in enumerate(blocks) if block.group == group and block.cell in cells)

    training, held_out = (chosen(group, counterparts.references) for group in (Group.REFERENCE, Group.HELD_OUT))
    for group, cells in ((Group.GENERATED, (cell,)), (Group.HELD_OUT, counterparts.yardstick)):
        for queries in _packed(chosen(group, cells), blocks):
            yield Search(cell, group, queries, training, held_out)


def _packed(numbers: Sequence[int], blocks: Sequence[CellBlock]) -> Iterator[tuple[int, ...]]:
    """Neighbouring blocks together, as long as they hold no more than BLOCK_ROWS images."""
    pack: list[int] = []
    size = 0
    for number in numbers:
        rows = len(blocks[number].rows)
        if pack and size + rows > BLOCK_ROWS:
            yield tuple(pack)
            pack, size = [], 0
        pack.append(number)
        size += rows
    if pack:
        yield tuple(pack)


def _digest(
    blocks: Sequence[CellBlock], counterparts: Mapping[Cell, Counterparts], hashes: Sequence[str], config: Config
) -> str:
    return content_hash(
        {
            "version": __version__,
            "audit": config.audit.model_dump(mode="json"),
            "feature_size": config.evaluation.feature_size,
            "plane": config.data.plane,
            "blocks": [[block.group, [[hashes[row.file], row.row, row.id] for row in block.rows]] for block in blocks],
            "counterparts": [
                [str(one) for one in (cell, *found.references, *found.yardstick)]
                for cell, found in counterparts.items()
            ],
        }
    )
