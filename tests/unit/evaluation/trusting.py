"""Samples that are as good as can be, samples that are bad in a known way, and which figures tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.ndimage import gaussian_filter

from mrigen.config import Config
from mrigen.each import one_by_one
from mrigen.evaluation.planning import plan_evaluation
from mrigen.evaluation.rounds import compute_figures, describe_images
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.evaluation.summary import Evaluation
from mrigen.features.networks import find_networks
from mrigen.images.index import index_generated, index_real
from mrigen.labels import Cell
from mrigen.metrics.comparison import DISTANCES
from mrigen.metrics.figure import Figure
from mrigen.records import sample_schema, to_table, write_table
from mrigen.report.figure_text import apart, told_apart
from mrigen.storage import Location
from tests.fake_run import sample_row
from tests.phantom_cohort import Pixels

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
        networks = self._networks
        classifier, images = describe_images(plan, networks, self._config, one_by_one, files, shape=shape, split="test")
        return compute_figures(images, plan, one_by_one, classifier=classifier, absent=networks.absent)


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
