"""What an evaluation compares: which images of which cell, cut into shards that do not depend on who works.

Choices are made by hashes of the images' ids, so they do not change with the order of files or rows. A shard holds
images of one group, and its key names all that its part depends on: the parts of real images are good for the next
evaluation too, whatever it compares them with.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrigen import __version__
from mrigen.config import Config, EvaluationConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.records import prepared_parts
from mrigen.storage import Location

MAX_PER_CELL = 2000
"""Images of a cell that are looked at, from each group."""
MIN_PIXELS = 11
MAX_DISTINCT = 20
SHARD_ROWS = 128
"""Images of one shard, the unit of work and of resumption."""

EFFICIENTNET, MRI, AUTOENCODER = "efficientnet-lite0", "mri", "autoencoder"
"""The extractors that there are."""

REAL_PROVENANCE = ("source", "licence")
PROVENANCE = ("model_sha256", "solver", "num_steps", "guidance_scale")


class Group(StrEnum):
    """What an image is compared as."""

    HELD_OUT = "held_out"
    """Real, of the split that is evaluated against."""
    REFERENCE = "reference"
    """Real, of the training split: measured like generated ones, they give the floor."""
    GENERATED = "generated"


@dataclass(frozen=True)
class ImageRow:
    """One image: row `row` of Parquet file number `file`. `owner` is the subject; a sample is its own."""

    group: Group
    file: int
    row: int
    id: str
    owner: str
    cell: Cell
    slice_mm: float
    sha256: str
    trained: bool = True
    kept: bool = False
    """Whether the pixels are kept for pairs and pictures, not only the figures."""


@dataclass(frozen=True)
class ImageIndex:
    """The images of a folder, without their pixels; `shape` is that of every image, None if there is none."""

    files: tuple[Location, ...] = ()
    rows: tuple[ImageRow, ...] = ()
    hashes: tuple[str, ...] = ()
    """SHA-256 of every file."""
    shape: tuple[int, ...] | None = None
    provenance: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Every source and licence of the real images, every model hash and sampler setting of generated ones."""


@dataclass(frozen=True)
class Shard:
    """Images of one group, the unit of work. `key` is a hash of their content and of how they are looked at."""

    group: Group
    rows: tuple[ImageRow, ...]
    key: str


@dataclass(frozen=True)
class Plan:
    """The images to look at, in shards: held-out, reference, generated. `extractors` name the features taken, and
    `identities` tell what each of those asked for depends on."""

    files: tuple[Location, ...]
    shards: tuple[Shard, ...]
    untrained: frozenset[Cell]
    extractors: tuple[str, ...]
    identities: Mapping[str, str]
    held_out: str
    """A hash of the images that all others are held against."""


def index_real(folder: Location, split: str) -> ImageIndex:
    """The images of `data/` that are held out in `split`, and those of the training split.

    Raises InputError for a folder without images, or one that is not just what `mrigen prepare` left.
    """
    columns = ("id", "subject", "pathology", "modality", "split", "slice_mm", "sha256", *REAL_PROVENANCE)
    files, hashes, tables, shape = _read_index(folder, columns, "mrigen prepare")
    closed = prepared_parts(folder)
    for file, found in zip(files, hashes, strict=True):
        if found != closed[file.name]:
            raise InputError(f"{file} is not as `mrigen prepare` left it: delete it and prepare again")
    rows = []
    for number, table in enumerate(tables):
        for position, row in enumerate(table.to_pylist()):
            if row["split"] not in (split, "train"):
                continue
            group = Group.HELD_OUT if row["split"] == split else Group.REFERENCE
            rows.append(
                ImageRow(group, number, position, row["id"], row["subject"], _cell(row), row["slice_mm"], row["sha256"])
            )
    _refuse_twins(rows, folder)
    return ImageIndex(files, tuple(rows), hashes, shape, _distinct(tables, REAL_PROVENANCE))


def index_generated(folder: Location) -> ImageIndex:
    """The images that `manifest/` in a folder of samples lists. Raises InputError as `index_real` does."""
    columns = ("id", "pathology", "modality", "slice_mm", "trained_cell", "file_sha256", *PROVENANCE)
    files, hashes, tables, shape = _read_index(folder / "manifest", columns, "mrigen generate")
    rows = []
    for number, table in enumerate(tables):
        for position, row in enumerate(table.to_pylist()):
            sample = ImageRow(
                Group.GENERATED, number, position, row["id"], row["id"], _cell(row), row["slice_mm"], row["file_sha256"]
            )
            rows.append(replace(sample, trained=bool(row["trained_cell"])))
    _refuse_twins(rows, folder)
    return ImageIndex(files, tuple(rows), hashes, shape, _distinct(tables, PROVENANCE))


def make_plan(real: ImageIndex, generated: ImageIndex, config: Config, networks: Mapping[str, str]) -> Plan:
    """Choose images cell by cell and cut them into shards, in the order in which the files hold them.

    Of each cell at most MAX_PER_CELL a group are taken, and as many reference images as there are
    generated ones (as held-out ones, where none were generated). `networks` are hashes of those of the run, as
    `mrigen.metrics.networks.Networks` has them. Raises InputError if real and generated images differ in shape, or
    are too small for SSIM.
    """
    refuse_other_shape(real, generated)
    if real.shape and min(real.shape) < MIN_PIXELS:
        raise InputError(f"images of {min(real.shape)} pixels are too small to judge: {MIN_PIXELS} are needed")
    offset = len(real.files)
    rows = [*real.rows, *(replace(row, file=row.file + offset) for row in generated.rows)]
    by_group: dict[tuple[Group, Cell], list[ImageRow]] = defaultdict(list)
    for row in rows:
        by_group[row.group, row.cell].append(row)
    chosen: dict[Group, list[ImageRow]] = {group: [] for group in Group}
    pool = _pool_size(config.evaluation.num_pairs)
    for cell in all_cells():
        held_out = _draw(by_group[Group.HELD_OUT, cell], MAX_PER_CELL)
        samples = _draw(by_group[Group.GENERATED, cell], MAX_PER_CELL)
        reference = _draw(by_group[Group.REFERENCE, cell], len(samples) or len(held_out))
        chosen[Group.HELD_OUT] += _keep(held_out, pool)
        chosen[Group.REFERENCE] += reference if held_out else []
        chosen[Group.GENERATED] += _keep(samples, pool)
    hashes = (*real.hashes, *generated.hashes)
    depends = {EFFICIENTNET: f"imagenet, {config.evaluation.feature_size} pixels", **networks}
    identities = extractor_identities(config.evaluation, depends)
    looks = {"version": __version__, "networks": dict(sorted(networks.items())), "extractors": identities}
    return Plan(
        (*real.files, *generated.files),
        tuple(shard for group in Group for shard in _cut(group, chosen[group], hashes, looks)),
        _untrained(by_group, config),
        tuple(name for name in identities if name in depends),
        identities,
        hashlib.sha256("\n".join(sorted(row.id + row.sha256 for row in chosen[Group.HELD_OUT])).encode()).hexdigest(),
    )


def refuse_other_shape(real: ImageIndex, generated: ImageIndex) -> None:
    """Raises InputError where there are both, and they differ in shape."""
    if real.shape and generated.shape and real.shape != generated.shape:
        raise InputError(
            f"generated images have shape {list(generated.shape)} and the real ones {list(real.shape)}: "
            "take samples of a model that was trained on this data"
        )


def extractor_identities(settings: EvaluationConfig, depends: Mapping[str, str]) -> dict[str, str]:
    """What each extractor's features depend on, as a short hash: features of one identity compare, others do not."""
    return {
        name: hashlib.sha256(f"{name}: {depends.get(name, 'none')}".encode()).hexdigest()[:16]
        for name in settings.extractors
    }


def hash_order(name: str) -> bytes:
    """A key that sorts ids as if at random, always in the same way."""
    return hashlib.sha256(name.encode()).digest()


def _untrained(by_group: dict[tuple[Group, Cell], list[ImageRow]], config: Config) -> frozenset[Cell]:
    """The cells that the model never saw: as its samples say, else as the run's configuration and data do."""
    found = set()
    for cell in all_cells():
        if samples := by_group.get((Group.GENERATED, cell)):
            unseen = not all(row.trained for row in samples)
        else:
            unseen = str(cell) in config.held_out_cells or not by_group.get((Group.REFERENCE, cell))
        if unseen:
            found.add(cell)
    return frozenset(found)


def _draw(rows: Sequence[ImageRow], count: int) -> list[ImageRow]:
    """`count` rows, as if at random, the same for any order of `rows`."""
    return sorted(rows, key=lambda row: hash_order(row.id))[:count]


def _keep(rows: Sequence[ImageRow], count: int) -> list[ImageRow]:
    """Mark `count` rows as kept, of as many owners as possible: every owner's first, then the second ..."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for position, row in enumerate(rows):
        turns.append((seen[row.owner], position))
        seen[row.owner] += 1
    kept = {position for _, position in sorted(turns)[:count]}
    return [replace(row, kept=position in kept) for position, row in enumerate(rows)]


def _pool_size(num_pairs: int) -> int:
    """As many images as give four times `num_pairs` pairs."""
    return math.ceil(math.sqrt(8 * num_pairs)) + 1


def _cut(group: Group, rows: Sequence[ImageRow], hashes: Sequence[str], looks: Mapping[str, Any]) -> Iterator[Shard]:
    ordered = sorted(rows, key=lambda row: (row.file, row.row))
    for start in range(0, len(ordered), SHARD_ROWS):
        some = ordered[start : start + SHARD_ROWS]
        images = [[hashes[row.file], row.row, row.id, row.kept] for row in some]
        content = json.dumps({**looks, "group": group, "images": images}, separators=(",", ":"))
        yield Shard(group, tuple(some), hashlib.sha256(content.encode()).hexdigest()[:32])


def _read_index(
    folder: Location, columns: tuple[str, ...], maker: str
) -> tuple[tuple[Location, ...], tuple[str, ...], list[pa.Table], tuple[int, ...]]:
    files = tuple(folder.files(".parquet"))
    if not files:
        raise InputError(f"no Parquet file in {folder}: run `{maker}` first")
    tables, shapes = [], set()
    for file in files:
        with file.filesystem.open_input_file(file.path) as stream:
            try:
                parquet = pq.ParquetFile(stream, page_checksum_verification=True)
                schema = parquet.schema_arrow
                if missing := {*columns, "image"} - set(schema.names):
                    raise InputError(f"{file} lacks the column {sorted(missing)[0]!r}: it is not from `{maker}`")
                tables.append(parquet.read(columns=list(columns)))
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"{file} is damaged: {' '.join(str(error).split())[:200]}") from None
        image = schema.field("image").type
        if not isinstance(image, pa.FixedShapeTensorType):
            raise InputError(f"{file}: the column 'image' is no fixed-shape tensor: it is not from `{maker}`")
        if image.value_type != pa.float16():
            raise InputError(f"{file}: images are of type {image.value_type}, not float16: it is not from `{maker}`")
        shapes.add(tuple(image.shape))
    if len(shapes) > 1:
        raise InputError(f"{folder} holds images of different shapes: {sorted(shapes)}")
    return files, tuple(file.sha256() for file in files), tables, shapes.pop()


def _distinct(tables: Sequence[pa.Table], columns: Sequence[str]) -> dict[str, list[Any]]:
    """The values that occur in each column, sorted, at most MAX_DISTINCT of them."""
    merged = pa.concat_tables(tables).select(list(columns))
    values = {name: merged[name].unique().drop_null().to_pylist() for name in columns}
    return {name: sorted(found)[:MAX_DISTINCT] for name, found in values.items()}


def _cell(row: dict[str, str]) -> Cell:
    return Cell(Pathology.parse(row["pathology"]), Modality.parse(row["modality"]))


def _refuse_twins(rows: Sequence[ImageRow], folder: Location) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(f"{folder} lists image {row.id!r} twice: make the folder anew")
        seen.add(row.id)
