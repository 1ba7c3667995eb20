"""Samples that are as good as can be, samples that are bad in a known way, and which figures tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mrigen.config import Config
from mrigen.each import one_by_one
from mrigen.evaluation.planning import plan_evaluation
from mrigen.evaluation.rounds import evaluate_images
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.evaluation.summary import Evaluation
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.features.networks import find_networks
from mrigen.images.index import index_generated, index_real
from mrigen.labels import Cell
from mrigen.metrics.comparison import DISTANCES
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import permutation_test
from mrigen.metrics.resampling import ImageSet, seeded
from mrigen.records import sample_schema, to_table, write_table
from mrigen.report.figure_text import apart, told_apart
from mrigen.storage import Location
from tests.fake_run import sample_row
from tests.phantom_cohort import Cohort, Pixels

Samples = Mapping[Cell, Sequence[Pixels]]
Label = TypeVar("Label", bound=StrEnum)
BLUR_PIXELS = 1.0


def noise(real: Samples) -> Samples:
    """As many images of noise, evenly distributed over all intensities."""
    random = np.random.default_rng(0)
    return {
        cell: [random.uniform(-1, 1, one.shape).astype(np.float16) for one in images] for cell, images in real.items()
    }


def blurred(real: Samples) -> Samples:
    """Every image, less sharp."""
    return {cell: [_blurred(image) for image in images] for cell, images in real.items()}


def _blurred(image: Pixels) -> Pixels:
    smooth: Pixels = gaussian_filter(image.astype(np.float32), BLUR_PIXELS).astype(np.float16)
    return smooth


def repeated(real: Samples) -> Samples:
    """Of every cell one image only, as often as there are others."""
    return {cell: [images[len(images) // 2]] * len(images) for cell, images in real.items()}


def swapped_pathologies(real: Samples) -> Samples:
    """Images of the next pathology, in the same modality."""
    known = [cell.pathology for cell in real]
    return {cell: real[Cell(_next(cell.pathology, known), cell.modality)] for cell in real}


def swapped_modalities(real: Samples) -> Samples:
    """Images of the next modality, of the same pathology."""
    known = [cell.modality for cell in real]
    return {cell: real[Cell(cell.pathology, _next(cell.modality, known))] for cell in real}


def _next(label: Label, known: Sequence[Label]) -> Label:
    """The next of the known labels; of the last, the first."""
    ordered = list(dict.fromkeys(known))
    return ordered[(ordered.index(label) + 1) % len(ordered)]


KINDS: Mapping[str, Callable[[Samples], Samples]] = {
    "real": lambda real: real,
    "noise": noise,
    "blurred": blurred,
    "repeated": repeated,
    "swapped pathologies": swapped_pathologies,
    "swapped modalities": swapped_modalities,
}
"""What is made of images of new subjects."""


class Evaluator:
    """Evaluates one set of samples after another against the images of a run folder, as `mrigen evaluate` does.

    What was seen of the real images serves all sets.
    """

    def __init__(self, run: Path, config: Config) -> None:
        self._run, self._config = run, config
        self._real = index_real(Location.parse(run / "data"), "test")
        self._networks = find_networks(Location.parse(run), config)

    def __call__(self, name: str, samples: Samples) -> Evaluation:
        """`name` is that of the folder that the samples are put in."""
        folder, shape = Location.parse(self._run / name), self._real.shape or ()
        rows = [sample_row(cell, i, image=image) for cell, images in samples.items() for i, image in enumerate(images)]
        write_table(to_table(rows, sample_schema(shape)), folder / "manifest" / "shard-000000.parquet")
        plan = plan_evaluation(self._real, index_generated(folder), self._config, self._networks.hashes)
        files = ShardFiles(Location.parse(self._run / "real"), folder / "described")
        return evaluate_images(plan, self._networks, self._config, one_by_one, files, shape=shape, split="test")


def beside(figures: Mapping[str, Figure], extractors: Sequence[str]) -> dict[str, tuple[Figure, Figure]]:
    """Every figure of generated images, with that of real images that it stands beside."""
    names = [f"{extractor}/{name}" for extractor in extractors for name in DISTANCES]
    pairs = {name: (figures[name], figures[f"{name}_floor"]) for name in names if name in figures}
    pairs["diversity/ms_ssim"] = figures["diversity/ms_ssim_generated"], figures["diversity/ms_ssim_real"]
    for name in ("fidelity/pathology", "fidelity/modality"):
        pairs[name] = figures[name], figures[f"{name}_real"]
    return pairs


def caught_by(figures: Mapping[str, Figure], extractors: Sequence[str]) -> set[str]:
    """The figures whose interval does not meet that of real images, and `EXTRACTOR/test` where p < 0.01."""
    found = {name for name, pair in beside(figures, extractors).items() if apart(*pair)}
    return found | {f"{extractor}/test" for extractor in extractors if told_apart(figures[f"{extractor}/kid"])}


def subject_images(cohort: Cohort, cell: Cell, feature_size: int) -> ImageSet:
    """The features of all images of a cell in `data/`; each is of its subject."""
    rows = [row for row in cohort.rows if (row["pathology"], row["modality"]) == (cell.pathology, cell.modality)]
    images = torch.from_numpy(np.stack([row["image"] for row in rows]).astype(np.float32))[:, None]
    extract = FeatureExtractor(feature_size)
    with torch.inference_mode():
        features = torch.cat([extract(batch) for batch in images.split(32)])
    zeros = [0] * len(rows)
    return ImageSet.of(features, [row["subject"] for row in rows], zeros, zeros)


def dealt_p_values(
    images: ImageSet, num_deals: int, num_held_out: int, num_others: int, *, single: bool, num_permutations: int
) -> list[float]:
    """The p-values of real images against real ones: again and again, subjects are dealt out anew, and all slices of
    the held-out ones compared with those of others; if `single`, with one of each, as if they were samples."""
    p_values = []
    for deal in range(num_deals):
        random = seeded(num_held_out, num_others, single, deal)
        people = random.permutation(images.num_owners)
        others = people[num_held_out : num_held_out + num_others]
        rows = [np.flatnonzero(images.owners == one) for one in others]
        if single:
            rows = [random.choice(own, 1) for own in rows]
        real = images.taken(np.flatnonzero(np.isin(images.owners, people[:num_held_out])))
        p_values.append(permutation_test(real, images.taken(np.concatenate(rows)), num_permutations, random))
    return p_values
