"""Do synthetic images help to train a classifier of pathology? Judged on held-out real images, modality by modality.

Three kinds of training set: real images, synthetic ones, and both, at several numbers of real subjects. One network
is trained for all modalities together and scored for each: it has the two heads of the judge of conditions, so it
knows the modality it looks at. Every training takes the same number of steps on batches of the same size, half of
them synthetic where both are used, and no real image chooses when to stop: so what differs is the data alone. Cells
that the model never saw are left out; they are what `extrapolation` is about.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from mrigen import __version__
from mrigen.condition_classifier.classifier import classify, train_classifier
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, refuse_other_shape
from mrigen.images.labelled import LabelledImages, cell_codes, draw_per_cell, owner_codes, pathology_codes
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.accuracy import balanced_accuracy
from mrigen.metrics.figure import Figure
from mrigen.metrics.resampling import Weights, interval, owner_weights, seeded
from mrigen.preprocess import mirrors
from mrigen.storage import Location

TRAIN_PER_CELL = 500
"""Images of a cell that one training uses at most, from each side."""
TEST_PER_CELL = 100
ALL = "All modalities"


class Kind(StrEnum):
    """What a classifier is trained on."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    BOTH = "both"


@dataclass(frozen=True)
class Training:
    """One training: what on, which share of the real subjects (0 for none), and the seed of all that is random."""

    kind: Kind
    fraction: float
    seed: int


@dataclass(frozen=True)
class Selection:
    """The images of the study: real training ones, held-out real ones, and synthetic ones, all of the same cells."""

    real: ImageIndex
    synthetic: ImageIndex
    train: tuple[ImageRow, ...]
    test: tuple[ImageRow, ...]
    made: tuple[ImageRow, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that the study is about."""
        found = {row.cell for row in self.test}
        return tuple(cell for cell in all_cells() if cell in found)


def plan_trainings(config: Config) -> list[Training]:
    """All trainings, the same number of seeds of each."""
    fractions, seeds = config.studies.real_fractions, range(config.studies.num_seeds)
    return [
        *(
            Training(kind, fraction, seed)
            for fraction in fractions
            for kind in (Kind.REAL, Kind.BOTH)
            for seed in seeds
        ),
        *(Training(Kind.SYNTHETIC, 0.0, seed) for seed in seeds),
    ]


def select(real: ImageIndex, synthetic: ImageIndex, untrained: Iterable[Cell]) -> Selection:
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
        raise InputError(
            "a classifier of pathology needs two pathologies with real training images, held-out real images and "
            f"samples of the same cells; here {_named(cells)}: generate samples of more cells"
        )
    train, test, made = ([row for row in rows if row.cell in cells] for rows in sides)
    return Selection(
        replace(real, rows=()),
        replace(synthetic, rows=()),
        tuple(train),
        tuple(draw_per_cell(test, TEST_PER_CELL)),
        tuple(draw_per_cell(made, TRAIN_PER_CELL)),
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


def training_rows(selection: Selection, training: Training) -> tuple[list[ImageRow], list[ImageRow]]:
    """The real and the synthetic images of a training."""
    real: list[ImageRow] = []
    if training.kind != Kind.SYNTHETIC:
        subjects = draw_subjects(selection.train, training.fraction, training.seed)
        real = draw_per_cell([row for row in selection.train if row.owner in subjects], TRAIN_PER_CELL)
    return real, [] if training.kind == Kind.REAL else list(selection.made)


def training_key(selection: Selection, training: Training, config: Config) -> str:
    """A hash of all that decides a training's result."""
    sides = (*training_rows(selection, training), selection.test)
    content = {
        "version": __version__,
        "seed": [config.seed, training.seed],
        "num_steps": config.studies.usefulness_steps,
        "flips": mirrors(config.data.plane),
        "images": [[[row.id, row.sha256, str(row.cell)] for row in rows] for rows in sides],
    }
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:32]


def train_and_test(selection: Selection, training: Training, config: Config, device: str = "cpu") -> dict[str, Any]:
    """Train one classifier and let it name the pathology of every test image: a part of the study, as JSON-able values.

    `answers` are rows of the pathologies' table, in the order of `selection.test` by file and row. Images that are not
    finite are left out of the training. Raises InputError if no other is left of a kind.
    """
    rows = training_rows(selection, training)
    real = LabelledImages.read(selection.real, rows[0]).finite()
    made = LabelledImages.read(selection.synthetic, rows[1]).finite()
    for kind, planned, found in zip(("real training", "synthetic"), rows, (real, made), strict=True):
        if planned and not len(found):
            raise InputError(f"none of {len(planned)} {kind} images is finite: there is nothing to train on")
    key = int.from_bytes(hashlib.sha256(f"usefulness/{config.seed}/{training.seed}".encode()).digest()[:7], "big")
    trained = train_classifier(
        [images for images in (real, made) if len(images)],
        None,
        num_steps=config.studies.usefulness_steps,
        generator=torch.Generator().manual_seed(key),
        flips=mirrors(config.data.plane),
        device=device,
    )
    logits, _ = classify(trained.classifier, LabelledImages.read(selection.real, selection.test).pixels)
    known = sorted({cell.pathology.row for cell in selection.cells})
    answers = np.array(known)[logits[:, known].argmax(axis=1)]
    return {
        "num_real_images": len(real),
        "num_real_subjects": len(set(real.owners)),
        "num_synthetic_images": len(made),
        "answers": [int(answer) for answer in answers],
    }


@dataclass(frozen=True)
class Arm:
    """What one kind of training set reached: balanced accuracy by modality, and over all of them."""

    kind: Kind
    fraction: float
    num_real_subjects: int
    num_real_images: int
    num_synthetic_images: int
    accuracy: Mapping[str, Figure]
    gain: Mapping[str, Figure]
    """Of `both`: its accuracy less that of the same real images alone. Empty for the others."""


@dataclass(frozen=True)
class Usefulness:
    """The whole study. Figures are for each modality and for all; their N counts test images."""

    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    num_seeds: int
    num_test_subjects: int

    def chance(self, scope: str) -> float:
        """The balanced accuracy of a guess: one over the number of pathologies in the modality, or in all."""
        return 1.0 / len({cell.pathology for cell in self.cells if scope in (ALL, str(cell.modality))})

    @property
    def scopes(self) -> list[str]:
        """Names of the figures: all modalities, then each."""
        return list(self.arms[0].accuracy)

    def as_json(self) -> dict[str, Any]:
        """`{"cells", "chance", "num_seeds", "num_test_subjects", "verdict", "arms": [...]}`."""
        return {
            "verdict": self.verdict(),
            "cells": [str(cell) for cell in self.cells],
            "chance": {name: self.chance(name) for name in self.scopes},
            "num_seeds": self.num_seeds,
            "num_test_subjects": self.num_test_subjects,
            "arms": [
                {
                    "kind": str(arm.kind),
                    "real_fraction": arm.fraction,
                    "num_real_subjects": arm.num_real_subjects,
                    "num_real_images": arm.num_real_images,
                    "num_synthetic_images": arm.num_synthetic_images,
                    "balanced_accuracy": {name: figure.as_json() for name, figure in arm.accuracy.items()},
                    "gain": {name: figure.as_json() for name, figure in arm.gain.items()},
                }
                for arm in self.arms
            ],
        }

    def verdict(self) -> str:
        """In a sentence: where synthetic images help, over all modalities."""
        said: dict[str, list[str]] = {"help": [], "harm": [], "make no difference that this study can tell": []}
        for arm in self.arms:
            if not arm.gain:
                continue
            gain = arm.gain[ALL]
            ends = "no interval" if gain.low is None else f"{gain.low:+.3f} to {gain.high:+.3f}"
            amount = f"{arm.num_real_subjects} real subjects ({gain.value:+.3f}, {ends})"
            if gain.low is not None and gain.low > 0:
                said["help"].append(amount)
            elif gain.high is not None and gain.high < 0:
                said["harm"].append(amount)
            else:
                said["make no difference that this study can tell"].append(amount)
        parts = [f"{does} beside {' and '.join(amounts)}" for does, amounts in said.items() if amounts]
        return (
            f"Added to real images, synthetic ones {'; they '.join(parts)}, in balanced accuracy over all modalities."
        )


def part_is_whole(part: Location, selection: Selection) -> bool:
    """Whether the result of a training stands there, with an answer for every test image."""
    if not part.is_file():
        return False
    try:
        return len(part.read_json()["answers"]) == len(selection.test)
    except (InputError, KeyError, TypeError):
        return False


def summarise(selection: Selection, parts: Mapping[Training, Mapping[str, Any]], config: Config) -> Usefulness:
    """All figures from the parts of all trainings."""
    reader = _Reader(selection, config)
    kinds = sorted({(one.kind, one.fraction) for one in parts}, key=lambda pair: (pair[1], list(Kind).index(pair[0])))
    reached = {
        pair: reader.reached([parts[Training(*pair, seed)]["answers"] for seed in range(config.studies.num_seeds)])
        for pair in kinds
    }
    arms = []
    for kind, fraction in kinds:
        part = parts[Training(kind, fraction, 0)]
        alone = reached.get((Kind.REAL, fraction), {}) if kind == Kind.BOTH else {}
        arms.append(
            Arm(
                kind,
                fraction,
                part["num_real_subjects"],
                part["num_real_images"],
                part["num_synthetic_images"],
                {name: reader.figure(name, one) for name, one in reached[kind, fraction].items()},
                {name: reader.figure(name, reached[kind, fraction][name] - one) for name, one in alone.items()},
            )
        )
    return Usefulness(tuple(arms), selection.cells, config.studies.num_seeds, reader.num_subjects)


class _Reader:
    """Turns answers into figures. Its draws, of seeds and of test subjects at once, are the same for every kind of
    training: what two of them reached can be subtracted draw by draw."""

    def __init__(self, selection: Selection, config: Config) -> None:
        test = sorted(selection.test, key=lambda row: (row.file, row.row))
        cells = [row.cell for row in test]
        self._truth, self._cells = pathology_codes(cells), cell_codes(cells)
        self._owners = owner_codes([row.owner for row in test])
        self.num_subjects = int(self._owners.max()) + 1
        modalities = [modality for modality in Modality if any(cell.modality == modality for cell in cells)]
        self._scopes = {ALL: np.ones(len(test), bool)}
        self._scopes |= {str(one): np.array([cell.modality == one for cell in cells]) for one in modalities}
        draws, seeds = config.evaluation.num_bootstraps, config.studies.num_seeds
        key = config.seed, "usefulness"
        subjects = owner_weights(self._owners, self._truth, draws, seeded(*key, "subjects"))
        whole = np.ones((1, self.num_subjects))
        self._subjects = whole if subjects is None else np.concatenate([whole, subjects])
        drawn = seeded(*key, "seeds").multinomial(seeds, np.full(seeds, 1 / seeds), len(self._subjects) - 1)
        self._seeds = np.concatenate([np.ones((1, seeds)), drawn]) / seeds

    def reached(self, answers: Sequence[Sequence[int]]) -> dict[str, Weights]:
        """The balanced accuracy, of each scope, from the answers of every seed: (1 + draws,), that of all first."""
        found = {}
        for name, here in self._scopes.items():
            where = self._truth[here], self._cells[here], self._owners[here]
            of_seeds = [
                balanced_accuracy((np.array(some) == self._truth)[here].astype(np.float64), *where, self._subjects)
                for some in answers
            ]
            found[name] = np.einsum("ds,sd->d", self._seeds, np.stack(of_seeds))
        return found

    def figure(self, name: str, values: Weights) -> Figure:
        """From what `reached` gave, or a difference of two."""
        here = self._scopes[name]
        if len(np.unique(self._truth[here])) < 2:
            return Figure.missing("one pathology alone in this modality: nothing to tell apart", int(here.sum()))
        return Figure.of(float(values[0]), int(here.sum()), interval(values[1:]) if len(values) > 1 else None)


def _named(cells: set[Cell]) -> str:
    return "there is only " + ", ".join(map(str, sorted(cells))) if cells else "there is no such cell"
