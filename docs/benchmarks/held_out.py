"""Held-out images of a run, drawn at random, and how far images made of them are from the training subjects'."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrigen.features.efficientnet import FeatureExtractor
from mrigen.images.labelled import cell_codes, pathology_codes
from mrigen.labels import Cell, Modality, Pathology
from mrigen.metrics.kernel import kid
from mrigen.metrics.resampling import ImageSet, interval, seeded
from mrigen.models.conditioning import Conditions
from mrigen.records import read_table
from mrigen.storage import Location
from mrigen.training.rows import TrainingRows

BATCH, FEATURE_SIZE, NUM_BOOTSTRAPS = 32, 128, 200


@dataclass(frozen=True)
class HeldOut:
    """Images (N, 1, S, S) of the `test` split with their conditions, and as many of training subjects."""

    images: Tensor
    conditions: Conditions
    _labels: Sequence[dict[str, str]]
    _real: ImageSet

    @classmethod
    def read(cls, run: Location, count: int) -> HeldOut:
        """`count` images of each split of `run/data`; no subject is in both."""
        table = read_table(run / "data", ["split", "subject", "pathology", "modality"]).to_pylist()
        drawn = {}
        with tempfile.TemporaryDirectory() as scratch:
            for split in ("train", "test"):
                rows = TrainingRows(run / "data", split, ["image"], Path(scratch))
                # Not evenly spaced: the rows of a subject come in an order that a step could keep time with.
                taken = np.sort(np.random.default_rng(0).permutation(len(rows))[:count])
                own = [row for row in table if row["split"] == split]
                drawn[split] = rows.tensor("image", taken)[:, None], [own[row] for row in taken]
            conditions = rows.conditions(taken)
        images, labels = drawn["test"]
        print(f"{len(images)} held-out images against {len(drawn['train'][0])} of training subjects")
        return cls(images, conditions, labels, _image_set(*drawn["train"]))

    def kid(self, images: Tensor, name: str) -> str:
        """KID (EfficientNet-Lite0) and interval of images (N, 1, S, S), each made of the held-out one at its place."""
        found = kid(self._real, _image_set(images.clamp(-1, 1), self._labels), NUM_BOOTSTRAPS, seeded(name))
        low, high = interval(found.draws) if found.draws is not None else (float("nan"), float("nan"))
        return f"{found.value:.3f} ({low:.3f} to {high:.3f})"


def _image_set(pixels: Tensor, labels: Sequence[dict[str, str]]) -> ImageSet:
    extract = FeatureExtractor(FEATURE_SIZE)
    with torch.inference_mode():
        features = torch.cat([extract(batch) for batch in pixels.split(BATCH)])
    cells = [Cell(Pathology(row["pathology"]), Modality(row["modality"])) for row in labels]
    return ImageSet.of(features, [row["subject"] for row in labels], cell_codes(cells), pathology_codes(cells))
