"""The figures of the study, from the answers of all its classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrigen.config import Config
from mrigen.images.labelled import cell_codes, pathology_codes
from mrigen.labels import Cell, Modality
from mrigen.metrics.accuracy import balanced_accuracy
from mrigen.metrics.figure import Figure, figures_json
from mrigen.metrics.resampling import Weights, interval, owner_codes, owner_weights, seeded
from mrigen.studies.usefulness.images import ClassifierTraining, StudyImages, TrainedOn

ALL = "All modalities"


@dataclass(frozen=True)
class Arm:
    """What one kind of training set reached: balanced accuracy by modality, and over all of them."""

    on: TrainedOn
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

    def chance(self, modality: str) -> float:
        """The balanced accuracy of a guess: one over the number of pathologies in the modality, or in all."""
        return 1.0 / len({cell.pathology for cell in self.cells if modality in (ALL, str(cell.modality))})

    @property
    def modalities(self) -> list[str]:
        """Names of the figures: all modalities, then each."""
        return list(self.arms[0].accuracy)

    def as_json(self) -> dict[str, Any]:
        """`{"cells", "chance", "num_seeds", "num_test_subjects", "arms": [...]}`."""
        return {
            "cells": [str(cell) for cell in self.cells],
            "chance": {name: self.chance(name) for name in self.modalities},
            "num_seeds": self.num_seeds,
            "num_test_subjects": self.num_test_subjects,
            "arms": [
                {
                    "kind": str(arm.on),
                    "real_fraction": arm.fraction,
                    "num_real_subjects": arm.num_real_subjects,
                    "num_real_images": arm.num_real_images,
                    "num_synthetic_images": arm.num_synthetic_images,
                    "balanced_accuracy": figures_json(arm.accuracy),
                    "gain": figures_json(arm.gain),
                }
                for arm in self.arms
            ],
        }


def summarise(
    images: StudyImages, answered: Mapping[ClassifierTraining, Mapping[str, Any]], config: Config
) -> Usefulness:
    """All figures from what every training gave, as `train_and_test` has it."""
    draws = _AccuracyDraws(images, config)
    kinds = sorted(
        {(one.on, one.fraction) for one in answered}, key=lambda pair: (pair[1], list(TrainedOn).index(pair[0]))
    )
    reached = {
        pair: draws.reached(
            [answered[ClassifierTraining(*pair, seed)]["answers"] for seed in range(config.studies.num_seeds)]
        )
        for pair in kinds
    }
    arms = []
    for on, fraction in kinds:
        counts = answered[ClassifierTraining(on, fraction, 0)]
        alone = reached.get((TrainedOn.REAL, fraction), {}) if on == TrainedOn.BOTH else {}
        arms.append(
            Arm(
                on,
                fraction,
                counts["num_real_subjects"],
                counts["num_real_images"],
                counts["num_synthetic_images"],
                {name: draws.figure(name, one) for name, one in reached[on, fraction].items()},
                {name: draws.figure(name, reached[on, fraction][name] - one) for name, one in alone.items()},
            )
        )
    return Usefulness(tuple(arms), images.cells, config.studies.num_seeds, draws.num_subjects)


class _AccuracyDraws:
    """Turns answers into balanced accuracies. Its draws, of seeds and of test subjects at once, are the same for every
    kind of training: what two of them reached can be subtracted draw by draw."""

    def __init__(self, images: StudyImages, config: Config) -> None:
        cells = [row.cell for row in images.test]
        self._truth, self._cells = pathology_codes(cells), cell_codes(cells)
        self._owners = owner_codes([row.owner for row in images.test])
        self.num_subjects = int(self._owners.max()) + 1
        masks = {str(one): np.array([cell.modality == one for cell in cells]) for one in Modality}
        self._images_of = {ALL: np.ones(len(cells), bool)} | {name: mask for name, mask in masks.items() if mask.any()}
        draws, seeds = config.evaluation.num_bootstraps, config.studies.num_seeds
        key = config.seed, "usefulness"
        subjects = owner_weights(self._owners, self._truth, draws, seeded(*key, "subjects"))
        whole = np.ones((1, self.num_subjects))
        self._subjects = whole if subjects is None else np.concatenate([whole, subjects])
        drawn = seeded(*key, "seeds").multinomial(seeds, np.full(seeds, 1 / seeds), len(self._subjects) - 1)
        self._seeds = np.concatenate([np.ones((1, seeds)), drawn]) / seeds

    def reached(self, answers: Sequence[Sequence[int]]) -> dict[str, Weights]:
        """The balanced accuracy, of each modality and of all, from the answers of every seed: (1 + draws,), the first
        without a draw."""
        found = {}
        for name, here in self._images_of.items():
            where = self._truth[here], self._cells[here], self._owners[here]
            of_seeds = [
                balanced_accuracy((np.array(some) == self._truth)[here].astype(np.float64), *where, self._subjects)
                for some in answers
            ]
            found[name] = np.einsum("ds,sd->d", self._seeds, np.stack(of_seeds))
        return found

    def figure(self, name: str, values: Weights) -> Figure:
        """From what `reached` gave, or a difference of two."""
        here = self._images_of[name]
        if len(np.unique(self._truth[here])) < 2:
            return Figure.missing("one pathology alone in this modality: nothing to tell apart", int(here.sum()))
        return Figure.of(float(values[0]), int(here.sum()), interval(values[1:]) if len(values) > 1 else None)
