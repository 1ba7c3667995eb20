"""A small phantom cohort as images, drawn and prepared in this process by the project's own functions: without files of
scans, and without Ray."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrigen.config import DataConfig
from mrigen.labels import Cell, Pathology
from mrigen.phantom import PhantomSubject, make_subject
from mrigen.prepare.image_files import image_rows
from mrigen.preprocess import prepare_images
from mrigen.records import image_schema, to_table, write_table
from mrigen.sources.scans import Scan
from mrigen.storage import Location
from mrigen.volume import Volume
from tests.fake_run import close_data

NEW = "new"
"""The split of subjects that `data/` does not have: the best samples that there can be are made of them."""
SEED = 7
"""Not that of the cohort which the embedded model was trained on."""
Pixels = np.ndarray[Any, np.dtype[np.float16]]


@dataclass(frozen=True)
class Cohort:
    """`rows` of `data/`, and of every cell images of new subjects: one slice of each, as samples are independent."""

    rows: Sequence[Mapping[str, Any]]
    new: Mapping[Cell, Sequence[Pixels]] = field(default_factory=dict)

    def write(self, run: Path) -> None:
        """`data/` of a run folder, without the new subjects."""
        shape = self.rows[0]["image"].shape
        write_table(to_table(self.rows, image_schema(shape)), Location.parse(run / "data" / "part-00000.parquet"))
        close_data(run)


def draw_cohort(
    cells: Sequence[Cell], num_subjects: Mapping[str, int], data: DataConfig, *, spacing_mm: float
) -> Cohort:
    """Draw `num_subjects` of each split for every pathology among `cells`, with voxels of `spacing_mm`.

    The new subjects of a pathology take turns in giving a slice to its cells. They are slices as `data/` has them where
    `slice_step_mm` divides the range of heights: else some subjects have one more than others, and features that know
    heights tell.
    """
    rows: list[Mapping[str, Any]] = []
    new: dict[Cell, list[Pixels]] = {cell: [] for cell in cells}
    random = np.random.default_rng(SEED)
    for pathology in dict.fromkeys(cell.pathology for cell in cells):
        subjects = _subjects(pathology, spacing_mm)
        own = [cell for cell in cells if cell.pathology is pathology]
        for split in (split for split, count in num_subjects.items() for _ in range(count)):
            subject = next(subjects)
            if split == NEW:
                cell = min(own, key=lambda one: len(new[one]))
                images = _prepared(subject, cell, data, split)
                new[cell].append(images[random.integers(len(images))]["image"])
            else:
                rows += [row for cell in own for row in _prepared(subject, cell, data, split)]
    return Cohort(rows, new)


def prepared(volume: Volume, cell: Cell, subject: str, data: DataConfig, split: str) -> list[dict[str, Any]]:
    """The rows of `data/` that `mrigen prepare` makes of a scan, in a split of our choice."""
    scan = Scan("", subject, "", "phantom", cell.pathology, cell.modality, licence="", split=split)
    content = hashlib.sha256(volume.array.tobytes()).hexdigest()
    return image_rows(scan, content, prepare_images(volume, data, subject=subject), data)


def _prepared(subject: PhantomSubject, cell: Cell, data: DataConfig, split: str) -> list[dict[str, Any]]:
    return prepared(Volume(subject.images[cell.modality], subject.affine), cell, subject.subject, data, split)


def _subjects(pathology: Pathology, spacing_mm: float) -> Iterator[PhantomSubject]:
    """All subjects of one pathology."""
    index = list(Pathology).index(pathology)
    while True:
        yield make_subject(SEED, index, spacing_mm)
        index += len(Pathology)
