"""What a user asks of a data set: how many samples of which conditions, and how they are drawn and written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from mrigen.config import SamplerConfig
from mrigen.config.files import parse_yaml
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.records import read_file
from mrigen.sources.tables import TABLE_SUFFIXES, read_rows
from mrigen.storage import Location

DEFAULT_PER_CELL = 4
MANY = 10**6
"""Samples whose four small files and folders each, as BIDS has them, are slow to list and to copy."""
_MOST = 10**9
COLUMNS = ("pathology", "modality", "slice_mm", "count")
"""Columns of a table of what is asked for: the conditions that the model knows, and how many samples of them."""


@dataclass(frozen=True, order=True)
class Kind:
    """Samples that share their conditions: a cell, and the height of the slice in mm where a table fixes it."""

    cell: Cell
    slice_mm: float | None = None

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Read what `str` gives."""
        cell, _, height = text.partition("@")
        return cls(Cell.parse(cell), float(height) if height else None)

    def __str__(self) -> str:
        return str(self.cell) if self.slice_mm is None else f"{self.cell}@{self.slice_mm:g}"

    @property
    def label(self) -> str:
        """Letters and digits that name it in files."""
        height = "" if self.slice_mm is None else f"h{self.slice_mm:g}s".replace("-", "m").replace(".", "p")
        return f"{self.cell.pathology}{self.cell.modality}{height}"


Quotas = dict[Kind, int]
"""How many samples of each kind, in the order of labels."""


@dataclass(frozen=True)
class CohortOrder:
    """A data set as it is asked for."""

    cells: str | None = None
    """Such as `GBM:T1ce=5000,MS:*=200,HC:T1`; None takes all cells that may be made."""
    per_cell: int | None = None
    """Samples of the cells that name no number; with `balance`, how many there shall be together with the real ones."""
    table: Location | Sequence[Any] | Mapping[str, Any] | None = None
    """A YAML, CSV or Parquet file in the place of `cells`, or what such a YAML file holds."""
    balance: Location | None = None
    """A prepared data set; what its training images lack of the largest cell, or of `per_cell`, is asked for."""
    subjects: str | None = None
    """Synthetic persons, each seen in all of `modalities`: a number for every pathology, or such as `GBM=100,MS=50`."""
    modalities: tuple[Modality, ...] = ()
    seed: int = 0
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the model's own settings."""
    slice_mm: float | None = None
    """Height of all slices that the table gives none; else it is drawn for each."""
    source: str | None = None
    """One of those that the model tells apart; None is the average over them."""
    formats: Sequence[str] | None = None
    """Names in `mrigen.cohort.shard.FORMATS`. None takes those of a data set that is added to; of a new one bids, but
    from `MANY` samples on webdataset."""
    redraws: int = 3
    """How often a sample that cannot be a scan is drawn anew, before it is left out; 0 takes all as they are drawn."""
    gates: Sequence[str] = ()
    """Names in `mrigen.stages.gates.GATES`: what samples are held to besides being scans."""
    shard_size: int = 64
    allow_untrained: bool = False

    @classmethod
    def of_words(cls, *, modalities: str | None, formats: str | None, gates: str | None, **others: Any) -> Self:
        """An order in users' words: names are parted by commas, and among the `others` stand the sampler's settings,
        None where the model's own are wanted. Raises InputError for an unknown modality."""
        asked = {name: others.pop(name, None) for name in SamplerConfig.model_fields}
        return cls(
            modalities=tuple(map(Modality.parse, modalities.split(","))) if modalities else (),
            formats=[name.strip() for name in formats.split(",")] if formats is not None else None,
            gates=tuple(name.strip() for name in gates.split(",")) if gates else (),
            sampler={name: value for name, value in asked.items() if value is not None},
            **others,
        )

    def quotas(self, known: Sequence[Cell]) -> Quotas:
        """How many samples of each kind; `known` are the cells that may be made without being named.

        Raises InputError for what cannot be understood, or more than one of cells, table, balance and subjects.
        """
        if sum(asked is not None for asked in (self.cells, self.table, self.balance, self.subjects)) > 1:
            raise InputError("only one of --cells, --plan, --balance and --subjects can say what to make")
        if (self.subjects is None) == bool(self.modalities):
            raise InputError("--subjects and --modalities go together: --subjects 100 --modalities T1w,T2w,FLAIR")
        if self.table is not None and self.per_cell is not None:
            raise InputError("--per-cell has no say beside --plan, where each row has its count, or is one sample")
        number = DEFAULT_PER_CELL if self.per_cell is None else _count(str(self.per_cell), "--per-cell")
        if self.subjects is not None:
            found = _of_subjects(self.subjects, self.modalities, known)
        elif self.balance is not None:
            found = _lacking(self.balance, known, self.per_cell)
        elif self.table is not None:
            found = _of_table(self.table, known)
        elif self.cells is not None:
            found = {}
            for text in self.cells.split(","):
                cells, equals, count = text.partition("=")
                asked = _count(count, f"--cells {text}") if equals else number
                found.update(dict.fromkeys(map(Kind, named_cells(cells, known)), asked))
        else:
            found = dict.fromkeys(map(Kind, known), number)
        return {kind: found[kind] for kind in sorted(found, key=_place) if found[kind]}


def _place(kind: Kind) -> tuple[int, int, float]:
    height = -math.inf if kind.slice_mm is None else kind.slice_mm
    return kind.cell.pathology.row, kind.cell.modality.row, height


def named_cells(text: str, known: Sequence[Cell]) -> list[Cell]:
    """The cells of `GBM:T1ce`, or those of the known ones that `GBM:*`, `*:T1ce` or `*` stand for."""
    if "*" not in text:
        return [Cell.parse(text)]
    left, _, right = text.replace(" ", "").partition(":")
    pathologies = list(Pathology) if left == "*" else [Pathology.parse(left)]
    modalities = list(Modality) if right in ("*", "") else [Modality.parse(right)]
    found = [cell for cell in known if cell.pathology in pathologies and cell.modality in modalities]
    if not found:
        raise InputError(f"cells {text[:80]!r}: there are only {', '.join(map(str, known))}")
    return found


def _of_subjects(text: str, modalities: Sequence[Modality], known: Sequence[Cell]) -> Quotas:
    """So many of all the modalities of each pathology; without a name, of those that are known in all of them."""
    found: Quotas = {}
    for asked in text.split(","):
        name, _, number = asked.rpartition("=")
        in_all = [one for one in Pathology if all(Cell(one, modality) in known for modality in modalities)]
        pathologies = [Pathology.parse(name)] if name else in_all
        if not pathologies:
            raise InputError(f"--modalities: the model was trained on no pathology in all of {', '.join(modalities)}")
        count = _count(number, f"--subjects {asked}")
        found.update({Kind(Cell(one, modality)): count for one in pathologies for modality in modalities})
    return found


def _count(text: str, where: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 <= number <= _MOST and number == int(number)):
        raise InputError(f"{where}: {text[:80]!r} is no number of samples, 0 to {_MOST:,}")
    return int(number)


def _of_table(table: Location | Sequence[Any] | Mapping[str, Any], known: Sequence[Cell]) -> Quotas:
    """Rows of conditions and counts; rows of the same conditions add up. A row without `count` is one sample."""
    found: Counter[Kind] = Counter()
    for where, row in _rows(table):
        if unknown := sorted(row.keys() - set(COLUMNS)):
            raise InputError(f"{where}: unknown column {unknown[0]!r}: known are {', '.join(COLUMNS)}")
        for name in ("pathology", "modality"):
            if not row.get(name):
                raise InputError(f"{where}: no {name}")
        count = _count(row.get("count") or "1", where)
        height = _height(row.get("slice_mm") or "", where)
        for cell in named_cells(f"{row['pathology']}:{row['modality']}", known):
            found[Kind(cell, height)] += count
    return dict(found)


def _height(text: str, where: str) -> float | None:
    """Millimetres, to a hundredth."""
    if not text:
        return None
    try:
        height = round(float(text), 2)
    except ValueError:
        height = math.nan
    if not math.isfinite(height):
        raise InputError(f"{where}: slice_mm {text[:80]!r} is no number")
    return height + 0.0  # no -0


def _rows(table: Location | Sequence[Any] | Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands, and its fields as text."""
    where, tree = "--plan", table
    if isinstance(table, Location):
        if not table.is_file():
            raise InputError(f"--plan: no file {table}")
        where = str(table)
        if not table.path.casefold().endswith((".yaml", ".yml")):
            if not table.path.casefold().endswith(TABLE_SUFFIXES):
                raise InputError(f"--plan: {table} is no .yaml, {', '.join(TABLE_SUFFIXES)} file")
            for number, row in enumerate(read_rows(table), start=1):
                yield f"{where}, row {number}", row
            return
        tree = parse_yaml(table.read_bytes(), where)
    if isinstance(tree, dict):  # Glioblastoma:T1ce: 5000
        for name, count in tree.items():
            pathology, _, modality = str(name).partition(":")
            yield f"{where}, {name}", {"pathology": pathology, "modality": modality or "*", "count": str(count)}
    elif isinstance(tree, list) and all(isinstance(row, dict) for row in tree):
        for number, row in enumerate(tree, start=1):
            yield f"{where}, row {number}", {str(k): "" if v is None else str(v) for k, v in row.items()}
    else:
        raise InputError(f"{where}: neither `PATHOLOGY:MODALITY: NUMBER` lines nor a list of rows")


def _lacking(data: Location, known: Sequence[Cell], wanted: int | None) -> Quotas:
    """What the training images lack of `wanted` in each cell, or of the largest cell."""
    folder = data / "data" if (data / "data").is_folder() else data
    counts: Counter[Cell] = Counter()
    for file in folder.files(".parquet"):
        table = read_file(file, ["pathology", "modality", "split"])
        for row in table.to_pylist():
            if row["split"] == "train":
                counts[Cell(Pathology.parse(row["pathology"]), Modality.parse(row["modality"]))] += 1
    if not counts:
        raise InputError(f"--balance: {folder} holds no training images: name what `mrigen prepare` wrote")
    goal = max(counts.values()) if wanted is None else wanted
    return {Kind(cell): max(0, goal - counts[cell]) for cell in known}
