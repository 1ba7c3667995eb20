"""What a model is asked, and gives: requests, their seeds, samples. Loads without torch, for who only plans."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrigen import __version__
from mrigen.config import SamplerConfig
from mrigen.labels import Cell
from mrigen.volume import Volume

INTENSITY_MAX = 1000.0
"""Intensity of the brightest voxel that a volume can hold; -1 of the model's range is 0."""


def sample_seed(seed: int, kind: object, index: int, redraw: int = 0) -> int:
    """Seed of the `index`-th sample of a cell, or another kind that `str` names: 64 bits of a hash, so that no
    neighbour or shard can move it. A sample that is rejected has others: its `redraw`-th."""
    again = f"/{redraw}" if redraw else ""
    digest = hashlib.sha256(f"mrigen-sample/{seed}/{kind}/{index}{again}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def seed_fraction(seed: int) -> float:
    """A uniform number in [0, 1) that belongs to a sample's seed but is independent of its noise."""
    digest = hashlib.sha256(f"mrigen-fraction/{seed}".encode()).digest()
    return int.from_bytes(digest[:6], "little") / 2**48


@dataclass(frozen=True)
class SampleRequest:
    """One image asked for: its cell, its own 64-bit seed, the sampler's settings and where the slice lies."""

    cell: Cell
    seed: int
    sampler: SamplerConfig
    slice_mm: float | None = None
    """Height above the brain's centre, mm; None draws it, by the seed, from the training distribution."""
    source: str | None = None
    """One of those that the model tells apart; None is the average over them."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A synthetic image, float32 (*spatial) in [-1, 1], and all that it takes to make it again."""

    request: SampleRequest
    image: NDArray[np.float32]
    slice_mm: float
    trained_cell: bool
    of_stripped_head: bool
    """Whether it is known to have no skull."""
    model_sha256: str
    affine: NDArray[np.float64]

    def volume(self) -> Volume:
        """The image as a volume, (X, Y, 1) of a slice, with intensities from 0 to 1000 and a RAS+ affine in mm."""
        scaled = (np.clip(self.image, -1.0, 1.0) + 1.0) * (INTENSITY_MAX / 2)
        return Volume(np.atleast_3d(scaled).astype(np.float32), self.affine)

    def provenance(self) -> dict[str, Any]:
        """What a sidecar, a header or a page says of the image: that it is synthetic, and how to make it again."""
        return {
            "synthetic": True,
            "generator": f"mrigen {__version__}",
            "pathology": str(self.request.cell.pathology),
            "modality": str(self.request.cell.modality),
            **({} if self.request.source is None else {"source": self.request.source}),
            "trained_cell": self.trained_cell,
            "seed": self.request.seed,
            "slice_mm": round(self.slice_mm, 4),
            **self.request.sampler.model_dump(mode="json"),
            "model_sha256": self.model_sha256,
        }
