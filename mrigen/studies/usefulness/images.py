"""The images of the study, and which of them each of its classifiers is trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, in_file_order, refuse_other_shape
from mrigen.images.labelled import choose_per_cell
from mrigen.labels import Cell, Pathology, all_cells

TRAIN_PER_CELL = 500
"""Images of a cell that one training uses at most, from each side."""
TEST_PER_CELL = 100


class TrainedOn(StrEnum):
    """The images that a classifier is trained on."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    BOTH = "both"


@dataclass(frozen=True)
class ClassifierTraining:
    """One training: what on, which share of the real subjects (0 for none), and the seed of all that is random."""

    on: TrainedOn
    fraction: float
    seed: int


@dataclass(frozen=True)
class StudyImages:
    """The images of the study: real training ones, held-out real ones, and synthetic ones, all of the same cells."""

    real: ImageIndex
    synthetic: ImageIndex
    train: tuple[ImageRow, ...]
    test: tuple[ImageRow, ...]
    """In the order of files and rows, in which they are read."""
    made: tuple[ImageRow, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that the study is about."""
        found = {row.cell for row in self.test}
        return tuple(cell for cell in all_cells() if cell in found)


def plan_trainings(config: Config) -> list[ClassifierTraining]:
    """All trainings, the same number of seeds of each."""
    fractions, seeds = config.studies.real_fractions, range(config.studies.num_seeds)
    return [
        *(
            ClassifierTraining(on, fraction, seed)
            for fraction in fractions
            for on in (TrainedOn.REAL, TrainedOn.BOTH)
            for seed in seeds
        ),
        *(ClassifierTraining(TrainedOn.SYNTHETIC, 0.0, seed) for seed in seeds),
    ]


def select_images(real: ImageIndex, synthetic: ImageIndex, untrained: Iterable[Cell]) -> StudyImages:
    """The images of cells that the model was trained on and that all three sides have; `real` holds the test split.

    Raises InputError where fewer than two pathologies remain, or the images differ in shape.
    """
    refuse_other_shape(real, synthetic)
    sides = [
        [row for row in real.rows if row.group == Group.REFERENCE],
        [row for row in real.rows if row.group == Group.HELD_OUT],
        [row for row in synthetic.rows if row.trained],
    ]
    cells = set.intersection(*({row.cell for row in rows} for rows in sides)) - set(untrained)
    if len({cell.pathology for cell in cells}) < 2:
        here = "there is only " + ", ".join(map(str, sorted(cells))) if cells else "there is no such cell"
        raise InputError(
            "a classifier of pathology needs two pathologies with real training images, held-out real images and "
            f"samples of the same cells; here {here}: generate samples of more cells (--cells)"
        )
    train, test, made = ([row for row in rows if row.cell in cells] for rows in sides)
    return StudyImages(
        replace(real, rows=()),
        replace(synthetic, rows=()),
        tuple(train),
        tuple(in_file_order(choose_per_cell(test, TEST_PER_CELL))),
        tuple(choose_per_cell(made, TRAIN_PER_CELL)),
    )


def draw_subjects(rows: Sequence[ImageRow], fraction: float, seed: int) -> set[str]:
    """That share of the subjects of each pathology, one at least. With one seed a smaller share is part of a larger
    one."""
    subjects: dict[Pathology, set[str]] = defaultdict(set)
    for row in rows:
        subjects[row.cell.pathology].add(row.owner)
    chosen: set[str] = set()
    for some in subjects.values():
        ordered = sorted(some, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        chosen.update(ordered[: max(1, round(fraction * len(ordered)))])
    return chosen


def training_rows(images: StudyImages, training: ClassifierTraining) -> tuple[list[ImageRow], list[ImageRow]]:
    """The real and the synthetic images of a training."""
    real: list[ImageRow] = []
    if training.on != TrainedOn.SYNTHETIC:
        subjects = draw_subjects(images.train, training.fraction, training.seed)
        real = choose_per_cell([row for row in images.train if row.owner in subjects], TRAIN_PER_CELL)
    return real, [] if training.on == TrainedOn.REAL else list(images.made)
