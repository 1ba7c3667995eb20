"""Images as what they are compared by: features, and the condition classifier's answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrigen.condition_classifier.fidelity import Answers
from mrigen.evaluation.described_cells import DescribedImages
from mrigen.images.index import Group
from mrigen.images.labelled import cell_codes, owner_codes, pathology_codes
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import NO_KID, KernelSums, Kid
from mrigen.metrics.resampling import Codes, ImageSet, Weights, interval, pair_weights, seeded

Vectors = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Features (N, F) by the name of their extractor, and the condition classifier's answers, on the same images in one
    order."""

    features: Mapping[str, Vectors]
    answers: Answers

    def __post_init__(self) -> None:
        for name, vectors in self.features.items():
            if len(vectors) != len(self.answers):
                raise ValueError(f"{len(vectors)} features of {name} and {len(self.answers)} answers")

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def cells(self) -> set[Cell]:
        """The cells that have an image."""
        return set(self.answers.cells)

    def of(self, cells: Set[Cell]) -> ScoredImages:
        """The images of some cells."""
        kept = [place for place, cell in enumerate(self.answers.cells) if cell in cells]
        return ScoredImages({name: vectors[kept] for name, vectors in self.features.items()}, self.answers.of(cells))

    def image_set(self, extractor: str) -> ImageSet:
        """The images by one extractor's features, as kernel distances take them."""
        answers = self.answers
        vectors = torch.from_numpy(np.asarray(self.features[extractor], np.float64))
        codes, strata = cell_codes(answers.cells), pathology_codes(answers.cells)
        return ImageSet(vectors, owner_codes(answers.owners), codes, strata)


def answers_in(images: DescribedImages, group: Group) -> Answers:
    """The classifier's answers on all images of a group, cell by cell; those that are not finite are counted."""
    some = list(zip(all_cells(), images.of(group, all_cells()), strict=True))
    logits = [vector for _, described in some for vector in described.answers]
    stacked = np.stack(logits) if logits else np.empty((0, len(Pathology) + len(Modality)))
    return Answers(
        stacked[:, : len(Pathology)],
        stacked[:, len(Pathology) :],
        tuple(cell for cell, described in some for _ in described.answers),
        tuple(owner for _, described in some for owner in described.answered_owners),
        {cell: described.num_broken for cell, described in some if described.num_broken},
    )


def scored_in(images: DescribedImages, group: Group, extractors: Sequence[str]) -> ScoredImages:
    """All images of a group that are finite, cell by cell, with the features of `extractors` and the answers."""
    vectors = [of_image for described in images.of(group, all_cells()) for of_image in described.features]
    features = {
        name: np.stack([one[place] for one in vectors]) if vectors else np.empty((0, 1), np.float32)
        for place, name in enumerate(extractors)
    }
    return ScoredImages(features, answers_in(images, group))


def joined(sets: Iterable[ScoredImages]) -> ScoredImages:
    """All images of some sets, in their order. Raises ValueError if there is no set."""
    some = list(sets)
    if not some:
        raise ValueError("nothing to join")
    answers = [one.answers for one in some]
    broken: dict[Cell, int] = {}
    for one in answers:
        for cell, count in one.num_broken.items():
            broken[cell] = broken.get(cell, 0) + count
    return ScoredImages(
        {name: np.concatenate([one.features[name] for one in some]) for name in some[0].features},
        Answers(
            np.concatenate([one.pathology for one in answers]),
            np.concatenate([one.modality for one in answers]),
            tuple(cell for one in answers for cell in one.cells),
            tuple(owner for one in answers for owner in one.owners),
            broken,
        ),
    )


def mean_cell_kid(real: ImageSet, fake: ImageSet, num_draws: int, generator: np.random.Generator) -> Kid:
    """KID within each cell, averaged over the cells, which both sets must have.

    Unlike the KID of all cells pooled, it sees images that are good but of the wrong cell. For the interval a subject
    is drawn with all its images, in whatever cell, so that cells are not taken for independent. NaN where a cell of
    a set has images of one owner only.
    """
    cells = np.unique(real.cells)
    if not np.array_equal(cells, np.unique(fake.cells)):
        raise ValueError("both sets must have images of the same cells")
    weights = [pair_weights(images, num_draws, generator) for images in (real, fake)]
    values, draws = [], []
    for cell in cells:
        (a, whose_a), (b, whose_b) = _within(real, cell), _within(fake, cell)
        sums = KernelSums.of(a), KernelSums.of(b), KernelSums.of(a, b)
        values.append(_distance(*sums, np.ones((1, a.num_owners)), np.ones((1, b.num_owners))))
        if weights[0] is not None and weights[1] is not None:
            draws.append(_distance(*sums, weights[0][:, whose_a], weights[1][:, whose_b]))
    return Kid(float(np.mean(values)), np.mean(draws, axis=0) if draws else None)


def kid_figure(
    real: ScoredImages, fake: ScoredImages, extractor: str, num_draws: int, key: tuple[object, ...]
) -> Figure:
    """The `mean_cell_kid` over the cells that both have; N is that of `fake`."""
    shared = real.cells & fake.cells
    if not shared:
        return Figure.missing("no cell has images on both sides", len(fake))
    a, b = real.of(shared), fake.of(shared)
    found = mean_cell_kid(a.image_set(extractor), b.image_set(extractor), num_draws, seeded(*key, extractor, "kid"))
    if math.isnan(found.value):
        return Figure.missing(NO_KID, len(b))
    return Figure.of(found.value, len(b), None if found.draws is None else interval(found.draws))


def _within(images: ImageSet, cell: int) -> tuple[ImageSet, Codes]:
    """The images of one cell, and which owner of the whole set each of their owners is."""
    rows = np.flatnonzero(images.cells == cell)
    owners, first = np.unique(images.owners[rows], return_index=True)
    return images.taken(rows), owners[np.argsort(first)]


def _distance(
    within_real: KernelSums, within_fake: KernelSums, between: KernelSums, real: Weights, fake: Weights
) -> Weights:
    return within_real.mean(real, real) + within_fake.mean(fake, fake) - 2.0 * between.mean(real, fake)
