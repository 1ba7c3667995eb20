"""Condition fidelity: does a classifier trained on real images name what a generated image was asked to show?

Its accuracy on generated images stands beside its accuracy on held-out real ones, which is all that could be asked
for. More than that is no praise: samples that are easier to tell apart than real images are caricatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from mrigen.condition_classifier.classifier import Trained, classify
from mrigen.images.labelled import LabelledImages, cell_codes, modality_codes, pathology_codes
from mrigen.images.scopes import Scope, all_scopes
from mrigen.labels import Cell, Modality, Pathology
from mrigen.metrics.accuracy import accuracy_interval, balanced_accuracy, calibration_error, confusion, wilson
from mrigen.metrics.figure import Figure, not_finite
from mrigen.metrics.resampling import MIN_OWNERS, Codes, Matrix, owner_codes, seeded

TARGETS = ("pathology", "modality")
NUM_CLASSES = {"pathology": len(Pathology), "modality": len(Modality)}
CLASSES = {"pathology": [str(p) for p in Pathology], "modality": [str(m) for m in Modality]}
SIDES = ("", "_real")
"""Suffixes of the figures on generated and on held-out real images."""
_NAMES = ("", "_calibration")
FIGURES = tuple(f"{target}{side}{name}" for target in TARGETS for side in SIDES for name in _NAMES)
"""Names of all figures of a scope."""
MIN_CALIBRATION = 50
"""Below this many images the calibration error would be mostly chance."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier says of images: logits (N, 4) and (N, 5), and the cell and the owner of each image.

    `num_broken` counts, by cell, images that could not be asked about, as their values are not finite.
    """

    pathology: Matrix
    modality: Matrix
    cells: tuple[Cell, ...]
    owners: tuple[str, ...]
    num_broken: Mapping[Cell, int]

    def __len__(self) -> int:
        return len(self.cells)

    def logits(self, target: str) -> Matrix:
        """Those of `pathology` or of `modality`."""
        return self.pathology if target == "pathology" else self.modality

    def labels(self, target: str) -> Codes:
        """The true class of every image, or the one asked for."""
        if target == "pathology":
            return pathology_codes(self.cells)
        return modality_codes(self.cells)

    def of(self, cells: Set[Cell]) -> Answers:
        """Those on images of some cells."""
        kept = [place for place, cell in enumerate(self.cells) if cell in cells]
        return Answers(
            self.pathology[kept],
            self.modality[kept],
            tuple(self.cells[place] for place in kept),
            tuple(self.owners[place] for place in kept),
            {cell: count for cell, count in self.num_broken.items() if cell in cells},
        )


def ask(trained: Trained, images: LabelledImages) -> Answers:
    """The classifier's answers on images; those that are not finite are counted, not asked about."""
    finite = images.finite()
    broken = {cell: images.cells.count(cell) - finite.cells.count(cell) for cell in set(images.cells)}
    pathology, modality = classify(trained.classifier, finite.pixels)
    return Answers(pathology, modality, finite.cells, finite.owners, {c: n for c, n in broken.items() if n})


@dataclass(frozen=True)
class Fidelity:
    """Figures of every scope by name (`pathology`, `pathology_real`, `pathology_calibration`, ...), and confusion
    matrices over the trained cells by target and side (`real`, `generated`): what was asked for by what was named.
    There is none of a target of which the classifier knows one class alone."""

    rows: Mapping[str, Mapping[str, Figure]]
    confusion: Mapping[str, Mapping[str, list[list[int]]]]


def fidelity(
    real: Answers,
    generated: Answers,
    counts: Mapping[Cell, int],
    *,
    untrained: Set[Cell] = frozenset(),
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> Fidelity:
    """Fidelity of generated images, beside held-out real ones. `counts` are the real images of every cell that the
    classifier was trained on, `untrained` the cells that the model never saw."""
    rows = {}
    for scope in all_scopes(untrained):
        cells = compared_cells(scope, real, generated, counts)
        figures: dict[str, Figure] = {}
        for target in TARGETS:
            learned = nothing_learned(real, target, counts)
            for side, suffix in zip((generated, real), SIDES, strict=True):
                some, key = side.of(cells), (seed, scope.name, target, suffix)
                reason = learned or why_no_accuracy(some, scope, counts)
                if reason:
                    figures |= {f"{target}{suffix}{name}": Figure.missing(reason, len(some)) for name in _NAMES}
                    continue
                figures[f"{target}{suffix}"] = accuracy(some, scope, target, num_bootstraps, *key)
                figures[f"{target}{suffix}_calibration"] = _calibration(some, target)
        rows[scope.name] = figures
    known = {cell for cell in {*real.cells, *generated.cells} if cell not in untrained and counts.get(cell)}
    matrices = {
        target: {
            name: confusion(some.logits(target).argmax(1), some.labels(target), NUM_CLASSES[target])
            for name, some in (("real", real.of(known)), ("generated", generated.of(known)))
        }
        for target in TARGETS
        if len(_classes(target, counts)) > 1
    }
    return Fidelity(rows, matrices)


def compared_cells(scope: Scope, real: Answers, generated: Answers, counts: Mapping[Cell, int]) -> set[Cell]:
    """The cells of a scope over which both sides are compared: where it has several, those that the classifier was
    trained on and that both sides have; those that one side has, where the other has nothing at all."""
    cells = set(scope.cells)
    if scope.cell is not None:
        return cells
    sides = [cells & {*side.cells, *side.num_broken} for side in (real, generated)]
    known = {cell for cell in cells if counts.get(cell)}
    return known & ((sides[0] & sides[1]) if all(sides) else (sides[0] | sides[1]))


def accuracy(answers: Answers, scope: Scope, target: str, num_bootstraps: int, *key: object) -> Figure:
    """The balanced accuracy of answers on images of a scope; in one cell the share that was named right.

    One cell's interval is Wilson's for as many trials as there are owners (subjects, or samples); over several cells
    owners are drawn anew, by a generator that `key` seeds.
    """
    labels = answers.labels(target)
    correct = (answers.logits(target).argmax(axis=1) == labels).astype(np.float64)
    owners = owner_codes(answers.owners)
    num_owners = int(owners.max()) + 1
    if scope.cell is not None:
        share = float(correct.mean())
        return Figure.of(share, len(answers), wilson(share, num_owners) if num_owners >= MIN_OWNERS else None)
    codes, strata = cell_codes(answers.cells), pathology_codes(answers.cells)
    value = balanced_accuracy(correct, labels, codes, owners, np.ones((1, num_owners)))[0]
    ends = accuracy_interval(correct, labels, codes, owners, strata, num_bootstraps, seeded(*key))
    return Figure.of(float(value), len(answers), ends)


def why_no_accuracy(answers: Answers, scope: Scope, counts: Mapping[Cell, int]) -> str | None:
    """Why the classifier's word on these images of a scope counts for nothing, or None."""
    broken = sum(answers.num_broken.values())
    if broken:
        return not_finite(broken, len(answers) + broken)
    if not any(counts.get(cell) for cell in scope.cells):
        return f"the classifier saw no real training image of {scope.these}"
    return None if len(answers) else f"no image of {scope.these}"


def nothing_learned(real: Answers, target: str, counts: Mapping[Cell, int]) -> str | None:
    """Why the classifier has no word in `target` at all, or None: it saw one class, or names only one."""
    if len(_classes(target, counts)) < 2:
        return f"the real training images are all of one {target}"
    said = np.unique(real.logits(target).argmax(axis=1))
    if len(said) == 1 and len(np.unique(real.labels(target))) > 1:
        return f"the classifier takes every held-out real image for {CLASSES[target][int(said[0])]}"
    return None


def _classes(target: str, counts: Mapping[Cell, int]) -> set[str]:
    """Those that the classifier was trained on."""
    return {str(getattr(cell, target)) for cell, count in counts.items() if count}


def _calibration(answers: Answers, target: str) -> Figure:
    """The expected calibration error; it has no interval, for draws of the images would be biased upwards."""
    if len(answers) < MIN_CALIBRATION:
        return Figure.missing(f"a calibration error needs {MIN_CALIBRATION} images", len(answers))
    return Figure.of(calibration_error(answers.logits(target), answers.labels(target)), len(answers))
