"""Images as what they are compared by: features, and the condition classifier's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrigen.condition_classifier.fidelity import Answers
from mrigen.evaluation.described_cells import DescribedImages
from mrigen.images.index import Group
from mrigen.images.labelled import cell_codes, pathology_codes
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import mean_cell_kid
from mrigen.metrics.resampling import ImageSet, seeded

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
        cells, vectors = self.answers.cells, torch.from_numpy(np.asarray(self.features[extractor], np.float64))
        return ImageSet.of(vectors, self.answers.owners, cell_codes(cells), pathology_codes(cells))


def answers_in(images: DescribedImages, group: Group) -> Answers:
    """The classifier's answers on all images of a group, cell by cell; those that are not finite are counted."""
    some = list(zip(all_cells(), images.of(group, all_cells()), strict=True))
    logits = [vector for _, described in some for vector in described.values("answers")]
    stacked = np.stack(logits) if logits else np.empty((0, len(Pathology) + len(Modality)))
    return Answers(
        stacked[:, : len(Pathology)],
        stacked[:, len(Pathology) :],
        tuple(cell for cell, described in some for _ in described.values("answers")),
        tuple(owner for _, described in some for owner in described.owners("answers")),
        {cell: described.num_broken for cell, described in some if described.num_broken},
    )


def scored_in(images: DescribedImages, group: Group, extractors: Sequence[str]) -> ScoredImages:
    """All images of a group that are finite, cell by cell, with the features of `extractors` and the answers."""
    vectors = [of_image for described in images.of(group, all_cells()) for of_image in described.values("features")]
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
    return ScoredImages(
        {name: np.concatenate([one.features[name] for one in some]) for name in some[0].features},
        Answers(
            np.concatenate([one.pathology for one in answers]),
            np.concatenate([one.modality for one in answers]),
            tuple(cell for one in answers for cell in one.cells),
            tuple(owner for one in answers for owner in one.owners),
            sum((Counter(one.num_broken) for one in answers), Counter()),
        ),
    )


def kid_figure(
    real: ScoredImages, fake: ScoredImages, extractor: str, num_draws: int, key: tuple[object, ...]
) -> Figure:
    """The `mean_cell_kid` over the cells that both have; N is that of `fake`."""
    shared = real.cells & fake.cells
    if not shared:
        return Figure.missing("no cell has images on both sides", len(fake))
    a, b = real.of(shared), fake.of(shared)
    found = mean_cell_kid(a.image_set(extractor), b.image_set(extractor), num_draws, seeded(*key, extractor, "kid"))
    return found.figure(len(b))
