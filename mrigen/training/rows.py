"""Training rows: labels in memory, tensors in files that are mapped."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, all_cells
from mrigen.models.conditioning import CONDITIONS, Categorical, Conditions, Continuous, Vocabulary
from mrigen.quality import ImageLimits, image_facts, limits_of
from mrigen.records import read_file, tensor_numpy, unpack_mask
from mrigen.storage import Location
from mrigen.training.places import Array, RowOrder

LESIONS = "lesions"
"""The column of packed masks."""
MOST_SOURCES = 100
"""That a denoiser tells apart: more are likely names of subjects, or of files."""


class TrainingRows:
    """The rows of one split: labels in memory, tensors in files that are mapped, by row number."""

    slice_mm: Array
    """Slice height of every row in mm, float32 (rows,)."""
    subjects: frozenset[str]
    """Whom the rows are of."""

    def __init__(
        self,
        folder: Location,
        split: str,
        tensors: Sequence[str],
        scratch: Path,
        without: Collection[str] = (),
        vocabulary: Vocabulary = CONDITIONS,
    ) -> None:
        """Copy the rows of `split` from the Parquet files of `folder` to `scratch`, a file for each of `tensors`.

        `lesions` beside `image` gives the masks, 1 within a lesion, and 0 without or where no mask is known.
        Cells named in `without` are left out; `vocabulary` says which conditions the rows tell. Raises InputError if
        `folder` holds no Parquet file, or tensors of different shapes.
        """
        files = _files_of(folder)
        self._files, self._split, self._without = files, split, without
        paths = {name: scratch / f"{split}-{name}.float16" for name in tensors}
        labels: list[dict[str, Array]] = []
        subjects = set[str]()
        with contextlib.ExitStack() as stack:
            streams = {name: stack.enter_context(path.open("wb")) for name, path in paths.items()}
            for file in files:
                table = of_split(read_file(file, ["split", "subject", *vocabulary, *tensors]), split, without)
                types = {name: table.schema.field(name).type for name in tensors}
                if not labels:
                    expected = types
                elif types != expected:
                    raise InputError(f"{file} holds {types}, {files[0]} {expected}: one run has images of one size")
                for name, stream in streams.items():
                    _write_pixels(table, name, stream)
                labels.append({name: _values(table[name], condition) for name, condition in vocabulary.items()})
                subjects.update(table["subject"].unique().to_pylist())
        self._labels = {name: np.concatenate([some[name] for some in labels]) for name in vocabulary}
        self._vocabulary, self.slice_mm = vocabulary, self._labels["slice_mm"]
        self.subjects = frozenset(subjects)
        self._tensors = {
            name: _mapped(path, (len(self), *expected["image" if name == LESIONS else name].shape))
            for name, path in paths.items()
        }

    def __len__(self) -> int:
        return len(self.slice_mm)

    @property
    def counts(self) -> dict[Cell, int]:
        """Number of rows of every cell."""
        cells = all_cells()
        numbers = np.bincount(self.cells, minlength=len(cells))
        return dict(zip(cells, numbers.tolist(), strict=True))

    def order(self, cell_balance: float = 0.0) -> RowOrder:
        """In which the rows are trained on; a cell of n rows counts as n ** (1 - cell_balance)."""
        if not cell_balance:
            return RowOrder(len(self))
        return RowOrder(len(self), np.bincount(self.cells)[self.cells] ** -cell_balance)

    @property
    def cells(self) -> Array:
        """The cell of every row, by its place in `all_cells()`."""
        return np.asarray(self._labels["pathology"] * np.uint8(len(Modality)) + self._labels["modality"])

    def tensor(self, name: str, rows: Array) -> torch.Tensor:
        """The named tensor column at `rows`, float32 (rows, *shape)."""
        return torch.from_numpy(self._tensors[name][rows]).float()

    def ids(self, rows: Array) -> list[str]:
        """Names of the images at `rows`, read from the files anew."""
        columns = ["split", "pathology", "modality", "id"]
        tables = [of_split(read_file(file, columns), self._split, self._without) for file in self._files]
        return [str(name) for name in pa.concat_tables(tables)["id"].take(pa.array(rows)).to_pylist()]

    def conditions(self, rows: Array) -> Conditions:
        """The conditions at `rows`."""
        chosen = {name: torch.from_numpy(values[rows]) for name, values in self._labels.items()}
        conditions = Conditions(chosen, self._vocabulary)
        return conditions.map(lambda _, values: values if values.is_floating_point() else values.long())


def training_values(folder: Location, column: str, without: Collection[str] = ()) -> frozenset[str]:
    """What `column`, such as source or licence, tells of the images of the `train` split in `folder`, cells named in
    `without` left out."""
    columns = ["split", column, "pathology", "modality"]
    tables = (of_split(read_file(file, columns), "train", without) for file in folder.files(".parquet"))
    return frozenset(value for table in tables for value in table[column].unique().to_pylist() if value)


def known_sources(latents: Location, config: Config) -> tuple[str, ...]:
    """The sources that a denoiser trained on `latents` tells apart, sorted; none without `denoiser.source_token`.

    Raises InputError if it would be one, or more than `MOST_SOURCES`, or if an earlier version made the latents.
    """
    if not config.denoiser.source_token:
        return ()
    files = _files_of(latents)
    if "source" not in read_file(files[0]).column_names:
        raise InputError(
            f"{latents} does not tell sources, as of an earlier version: delete it, and `mrigen encode` again"
        )
    found = tuple(sorted(training_values(latents, "source", config.held_out_cells)))
    if not 1 < len(found) <= MOST_SOURCES:
        raise InputError(
            f"denoiser.source_token needs training images of 2 to {MOST_SOURCES} sources, and {latents} has "
            f"{len(found)}, such as {list(found[:3])}: name scanners or sites when they are prepared, or --set "
            "denoiser.source_token=false"
        )
    return found


def training_limits(folder: Location, without: Collection[str] = ()) -> dict[Modality, ImageLimits]:
    """How large and bright the images of the `train` split in `folder` are, by modality; see `mrigen.quality`."""
    found: dict[Modality, dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    for file in folder.files(".parquet"):
        table = of_split(read_file(file, ["split", "pathology", "modality", "image"]), "train", without)
        names = np.array(table["modality"].to_pylist())
        facts = image_facts(tensor_numpy(table["image"])) if len(table) else {}
        for modality in Modality:
            for name, values in facts.items():
                if (names == modality).any():
                    found[modality][name].append(values[names == modality])
    return {
        modality: limits_of({name: np.concatenate(values) for name, values in facts.items()})
        for modality, facts in found.items()
    }


def _files_of(folder: Location) -> list[Location]:
    if not (files := folder.files(".parquet")):
        raise InputError(f"no Parquet file in {folder}: run the stage before this one first")
    return files


def _write_pixels(table: pa.Table, name: str, stream: BinaryIO) -> None:
    """Append a column of tensors, or of packed masks, to a file of float16."""
    if name == LESIONS:
        shape = table.schema.field("image").type.shape
        for packed in table[name].to_pylist():
            mask = np.zeros(shape, bool) if packed is None else unpack_mask(packed, shape)
            mask.astype(np.float16).tofile(stream)
        return
    for chunk in table[name].chunks:
        if len(chunk):
            chunk.to_numpy_ndarray().tofile(stream)


def of_split(table: pa.Table, split: str, without: Collection[str]) -> pa.Table:
    """The rows of `split` whose cell is not in `without`."""
    cell = pc.binary_join_element_wise(table["pathology"], table["modality"], ":")
    left_out = pc.is_in(cell, pa.array(list(without), pa.string()))
    return table.filter(pc.and_(pc.equal(table["split"], split), pc.invert(left_out)))


def _values(column: pa.ChunkedArray, condition: Categorical | Continuous) -> Array:
    """A column as rows of the embedding table, in as few bytes as hold them, or as float32 numbers."""
    if isinstance(condition, Continuous):
        return np.array(column.to_numpy(), np.float32)
    rows = pc.index_in(column, pa.array(list(map(str, condition.labels))))
    if condition.open:
        rows = rows.fill_null(condition.null)
    if rows.null_count:
        known = ", ".join(condition.labels)
        raise InputError(f"unknown labels among {pc.unique(column).to_pylist()}: known are {known}")
    return np.array(rows.to_numpy(), np.min_scalar_type(condition.null))


def _mapped(path: Path, shape: tuple[int, ...]) -> Array:
    # An empty file cannot be mapped.
    return np.asarray(np.memmap(path, np.float16, "r", shape=shape)) if shape[0] else np.empty(shape, np.float16)
