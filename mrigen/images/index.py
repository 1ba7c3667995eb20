"""Which images a folder holds, without their pixels: real ones of `data/`, generated ones of `samples/`.

Raises InputError for folders that are not just what `mrigen prepare` or `mrigen generate` left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.records import prepared_parts
from mrigen.storage import Location

MAX_DISTINCT = 20

REAL_PROVENANCE = ("source", "licence")
PROVENANCE = ("model_sha256", *SamplerConfig.model_fields)


class Group(StrEnum):
    """What an image is compared as."""

    HELD_OUT = "held_out"
    """Real, of the split that is evaluated against."""
    REFERENCE = "reference"
    """Real, of the training split: measured like generated ones, they give the floor."""
    EXTERNAL = "external"
    """Real, of a data set that the model never met."""
    GENERATED = "generated"


@dataclass(frozen=True)
class ImageRow:
    """One image: row `row` of Parquet file number `file`. `owner` is the subject, or the first sample of a person."""

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

    @property
    def held_out_subjects(self) -> set[str]:
        """Whom the held-out images are of."""
        return {row.owner for row in self.rows if row.group == Group.HELD_OUT}


def index_real(folder: Location, split: str) -> ImageIndex:
    """The images of `data/` that are held out in `split`, and those of the training split; `all` holds out every one.

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
            if split != "all" and row["split"] not in (split, "train"):
                continue
            group = Group.HELD_OUT if split in ("all", row["split"]) else Group.REFERENCE
            rows.append(
                ImageRow(group, number, position, row["id"], row["subject"], _cell(row), row["slice_mm"], row["sha256"])
            )
    _refuse_twins(rows, folder)
    return ImageIndex(files, tuple(rows), hashes, shape, _distinct(tables, REAL_PROVENANCE))


def index_generated(folder: Location) -> ImageIndex:
    """The images that `manifest/` in a folder of samples lists. Raises InputError as `index_real` does."""
    columns = ("id", "pathology", "modality", "seed", "slice_mm", "trained_cell", "file_sha256", *PROVENANCE)
    files, hashes, tables, shape = _read_index(folder / "manifest", columns, "mrigen generate")
    rows: list[ImageRow] = []
    persons: dict[tuple[str, int], str] = {}
    for number, table in enumerate(tables):
        for position, row in enumerate(table.to_pylist()):
            person = persons.setdefault((row["pathology"], row["seed"]), row["id"])  # one is seen in several modalities
            sample = ImageRow(
                Group.GENERATED, number, position, row["id"], person, _cell(row), row["slice_mm"], row["file_sha256"]
            )
            rows.append(replace(sample, trained=bool(row["trained_cell"])))
    _refuse_twins(rows, folder)
    return ImageIndex(files, tuple(rows), hashes, shape, _distinct(tables, PROVENANCE))


def refuse_other_shape(real: ImageIndex, generated: ImageIndex) -> None:
    """Raises InputError where there are both, and they differ in shape."""
    if real.shape and generated.shape and real.shape != generated.shape:
        raise InputError(
            f"generated images have shape {list(generated.shape)} and the real ones {list(real.shape)}: "
            "take samples of a model that was trained on this data"
        )


def joined(real: ImageIndex, generated: ImageIndex) -> ImageIndex:
    """Both as one, the files of `real` first. Raises InputError as `refuse_other_shape` does."""
    refuse_other_shape(real, generated)
    offset = len(real.files)
    rows = (*real.rows, *(replace(row, file=row.file + offset) for row in generated.rows))
    return ImageIndex((*real.files, *generated.files), rows, (*real.hashes, *generated.hashes), real.shape)


def in_file_order(rows: Iterable[ImageRow]) -> list[ImageRow]:
    """Rows in the order in which their files hold them, and in which they are read."""
    return sorted(rows, key=lambda row: (row.file, row.row))


def content_hash(tree: Any) -> str:
    """The SHA-256 of a tree of JSON, as hex: a name for what is made of all that it lists."""
    return hashlib.sha256(json.dumps(tree, separators=(",", ":")).encode()).hexdigest()


def hash_order(name: str) -> bytes:
    """A key that sorts ids as if at random, always in the same way."""
    return hashlib.sha256(name.encode()).digest()


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
                if missing := {*columns, "image"} - {*schema.names, *SamplerConfig.model_fields}:
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
    merged = pa.concat_tables(tables, promote_options="default")
    values = {name: merged[name].drop_null().to_pylist() for name in columns if name in merged.column_names}
    return {name: sorted(set(map(_as_written, some)))[:MAX_DISTINCT] for name, some in values.items()}


def _as_written(value: Any) -> Any:
    """A float32 as the shortest decimal that means it, 2.2 and not 2.200000047683716; a list of such as a tuple."""
    if isinstance(value, list):
        return tuple(map(_as_written, value))
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _cell(row: dict[str, str]) -> Cell:
    return Cell(Pathology.parse(row["pathology"]), Modality.parse(row["modality"]))


def _refuse_twins(rows: Sequence[ImageRow], folder: Location) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(f"{folder} lists image {row.id!r} twice: make the folder anew")
        seen.add(row.id)
