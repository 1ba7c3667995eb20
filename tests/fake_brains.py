"""A cohort of brain-like images to evaluate against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from mrigen.labels import Cell
from mrigen.records import image_schema, to_table, write_table
from mrigen.storage import Location
from tests.fake_run import SIZE, close_data

T1W, T2W = Cell.parse("Healthy:T1w"), Cell.parse("Healthy:T2w")
Pixels = np.ndarray[Any, np.dtype[np.float32]]


def brain(cell: Cell, subject: str, slice_: int = 0) -> Pixels:
    """A slice (SIZE, SIZE): head, ventricles and texture of a subject, as the cell's modality shows them."""

    def random(*key: object) -> np.random.Generator:
        return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big"))

    own, noise = random(subject), random(subject, slice_, cell)
    width, height, ventricle = own.uniform(0.6, 0.8), own.uniform(0.75, 0.95), own.uniform(0.1, 0.3)
    x, y = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    head = (x / width) ** 2 + (y / height) ** 2 < 1 - 0.1 * slice_
    inner = (np.abs(x) / ventricle) ** 2 + (y / (2 * ventricle)) ** 2 < 1
    texture = gaussian_filter(own.normal(size=(SIZE, SIZE)), 1.0) + 0.3 * noise.normal(size=(SIZE, SIZE))
    tissue, fluid = (0.4, -0.7) if cell == T1W else (-0.3, 0.9)
    image = np.where(inner, fluid, tissue + 0.25 * texture)
    return np.where(head, np.clip(image, -1, 1), -1).astype(np.float32)


def write_cohort(run: Path, subjects: Mapping[str, int], *, slices: int = 4) -> None:
    """`data/` of both cells."""
    rows = []
    for cell in (T1W, T2W):
        for split, count in subjects.items():
            for number in range(count):
                for k in range(slices):
                    name = f"{split}{number:03d}-{cell.modality}-{k}"
                    rows.append(
                        {
                            "id": name,
                            "subject": f"{split}{number:03d}",
                            "session": "",
                            "source": "made up",
                            "pathology": str(cell.pathology),
                            "modality": str(cell.modality),
                            "split": split,
                            "slice_mm": 6.0 * k,
                            "image": brain(cell, f"{split}{number}", k),
                            "affine": [float(i) for i in range(16)],
                            "lesions": None,
                            "spacing_mm": 3.0,
                            "licence": "",
                            "sha256": hashlib.sha256(name.encode()).hexdigest(),
                        }
                    )
    write_table(to_table(rows, image_schema((SIZE, SIZE))), Location.parse(run / "data" / "part-00000.parquet"))
    close_data(run)


def fresh_brains(cell: Cell, count: int) -> Sequence[Pixels]:
    """Slices of subjects that are in no split, one of each."""
    return [brain(cell, f"new{number}", number % 4) for number in range(count)]
