"""A run folder as the stages before `evaluate` leave it, with images made up here: for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mrigen.config import Config, load_config
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.files import save_autoencoder
from mrigen.models.autoencoder import Autoencoder
from mrigen.records import image_schema, sample_schema, to_table, write_table
from mrigen.run import deciding_settings
from mrigen.storage import Location

SIZE = 32


def tiny_config(*overrides: str) -> Config:
    """The `tiny` preset at 32 pixels."""
    return load_config("tiny", overrides=[f"data.image_size={SIZE}", *overrides])


def made_up_image(*key: object) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A smooth blob (SIZE, SIZE) in [-1, 1] that depends on `key` alone."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), 2.0)
    x, y = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    inside = (x / 0.75) ** 2 + (y / 0.9) ** 2 < 1
    return np.where(inside, np.clip(noise / np.abs(noise).max() + 0.2, -1, 1), -1).astype(np.float32)


def write_data(
    run: Path,
    cells: Iterable[Cell],
    subjects: Mapping[str, int],
    *,
    slices: int = 3,
    num_files: int = 2,
    lesions: Callable[[str], bytes | None] = lambda name: None,
) -> None:
    """`data/`: of each cell `subjects[split]` subjects in each split, every one with `slices` slices.

    `lesions` gives the packed mask of an image by its name.
    """
    rows = []
    for cell in cells:
        for split, count in subjects.items():
            for number in range(count):
                subject = f"{split}{number:03d}{cell.pathology}"
                for k in range(slices):
                    name = f"{subject}-{cell.modality}-{k}"
                    rows.append(
                        {
                            "id": name,
                            "subject": subject,
                            "session": "",
                            "source": "made up",
                            "pathology": str(cell.pathology),
                            "modality": str(cell.modality),
                            "split": split,
                            "slice_mm": 6.0 * k,
                            "image": made_up_image("real", name),
                            "affine": [float(i) for i in range(16)],
                            "lesions": lesions(name),
                            "spacing_mm": 3.0,
                            "licence": "CC0 1.0",
                            "sha256": hashlib.sha256(name.encode()).hexdigest(),
                        }
                    )
    for number in range(num_files):
        table = to_table(rows[number::num_files], image_schema((SIZE, SIZE)))
        write_table(table, Location.parse(run / "data" / f"part-{number:05d}.parquet"))
    close_data(run)


def close_data(run: Path) -> None:
    """`data/_SUCCESS.json`, over the files that are there."""
    files = sorted((run / "data").glob("*.parquet"))
    parts = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    mark = {"parts": parts, "settings": deciding_settings(tiny_config(), "data")}
    (run / "data" / "_SUCCESS.json").write_text(json.dumps(mark))


def sample_row(cell: Cell, index: int, *, trained: bool = True, image: Any = None) -> dict[str, Any]:
    """One row of a samples manifest."""
    return {
        "id": f"{cell.pathology}{cell.modality}{index:05d}",
        "shard": 0,
        "pathology": str(cell.pathology),
        "modality": str(cell.modality),
        "source": None,
        "trained_cell": trained,
        "index": index,
        "seed": index * len(all_cells()) + all_cells().index(cell),
        "slice_mm": 5.0 * (index % 4),
        "solver": "ddim",
        "num_steps": 3,
        "guidance_scale": 2.0,
        "pathology_scale": 0.0,
        "modality_scale": 0.0,
        "guidance_interval": [0.0, 1.0],
        "compute_batch": 8,
        "precision": "fp32",
        "guide": "cfg",
        "model_sha256": "ab" * 32,
        "path": "",
        "file_sha256": hashlib.sha256(f"{cell}{index}".encode()).hexdigest(),
        "image": made_up_image("fake", str(cell), index) if image is None else image,
    }


def write_samples(folder: Path, rows: Sequence[Mapping[str, Any]], *, complete: bool = True) -> None:
    """`samples/` with one shard."""
    table = to_table(rows, sample_schema((SIZE, SIZE)))
    write_table(table, Location.parse(folder / "manifest" / "shard-000000.parquet"))
    if complete:
        (folder / "_SUCCESS.json").write_text("{}")


def write_autoencoder(folder: Path, config: Config, seed: int = 0) -> None:
    """`vae/`, untrained."""
    torch.manual_seed(seed)
    save_autoencoder(Location.parse(folder), Autoencoder.build(config), config)
