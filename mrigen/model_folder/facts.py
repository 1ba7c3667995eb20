"""What a model folder tells of itself without its networks: a driver that plans, and loads no torch, needs no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mrigen.config import Config, parse_config
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, all_cells
from mrigen.model_folder.card import shows_brains_alone
from mrigen.quality import ImageLimits
from mrigen.storage import Location

SUMS = "SHA256SUMS"
CONFIG = "mrigen_config.json"


@dataclass(frozen=True, eq=False)
class ModelFacts:
    """What a model was trained with and on, and the hash that names it."""

    config: Config
    training_counts: dict[Cell, int]
    training_sources: tuple[str, ...]
    """Data sets that the training images came from; none where the folder does not tell."""
    training_licences: tuple[str, ...]
    """Those of the training images; none where the folder does not tell."""
    sources: tuple[str, ...]
    """Those that it tells apart, of which a sample may be asked for; none without `denoiser.source_token`."""
    slice_mm_quantiles: tuple[float, ...]
    """Quantiles, from the least to the greatest, of the slice heights in the training images."""
    image_limits: Mapping[Modality, ImageLimits]
    """What `mrigen.quality` holds generated images against; empty where the folder does not tell."""
    sha256: str

    @classmethod
    def load(cls, folder: Location | None) -> ModelFacts:
        """Those of a model folder, or of the embedded model. Raises InputError if it is missing or broken."""
        with local_model(folder) as local:
            return read_facts(local)

    @property
    def of_stripped_heads(self) -> bool:
        """Whether its images are known to have no skull."""
        return shows_brains_alone(self.config.data, self.training_sources)

    def is_trained(self, cell: Cell) -> bool:
        """Whether the model saw the cell in training."""
        return self.training_counts.get(cell, 0) > 0

    def require_trained(self, cells: Sequence[Cell], remedy: str) -> None:
        """Raise InputError that names the cells never seen in training, if any, those that were, and the `remedy`."""
        untrained = [str(cell) for cell in cells if not self.is_trained(cell)]
        if untrained:
            trained = ",".join(str(cell) for cell in all_cells() if self.is_trained(cell))
            never = f"never seen in training: {', '.join(untrained)}"
            raise InputError(f"{never}; choose of those that were (--cells {trained}), {remedy}")

    def require_source(self, source: str | None) -> None:
        """Raise InputError that names the known sources, unless it is one of them, or None."""
        if source is not None and source not in self.sources:
            known = f"known are {list(self.sources)}" if self.sources else "it has no denoiser.source_token"
            raise InputError(f"source {source[:80]!r} is none that the model tells apart: {known}; or leave it out")


@contextlib.contextmanager
def local_model(folder: str | Path | Location | None) -> Iterator[Path]:
    """A model folder, or for None that of the embedded model, on the local disk. Raises InputError if there is none."""
    if folder is None:
        with resources.as_file(resources.files("mrigen") / "embedded" / "model") as embedded:
            yield embedded
        return
    location = folder if isinstance(folder, Location) else Location.parse(folder)
    if not location.is_folder():
        raise InputError(f"there is no model folder {folder}")
    with location.as_local() as local:
        yield local


def read_facts(folder: Path) -> ModelFacts:
    """Read them after checking the hashes of all files. Raises InputError if one is missing or differs."""
    digest = verify_folder(folder)
    labels = read_fields(folder / "labels.json", "training_counts", "slice_mm_quantiles")
    conditioning = read_fields(folder / "conditioning" / "config.json", "channels")
    return ModelFacts(
        config=parse_config(read_json(folder / CONFIG), str(folder / CONFIG)),
        training_counts={Cell.parse(name): int(n) for name, n in labels["training_counts"].items()},
        training_sources=tuple(labels.get("training_sources", ())),
        training_licences=tuple(labels.get("training_licences", ())),
        sources=tuple(conditioning.get("sources", ())),
        slice_mm_quantiles=tuple(labels["slice_mm_quantiles"]),
        image_limits={
            Modality(name): {fact: (low, high) for fact, (low, high) in limits.items()}
            for name, limits in labels.get("image_limits", {}).items()
        },
        sha256=digest,
    )


def verify_folder(folder: Path) -> str:
    """Check every file of a model folder against its manifest; returns the model's hash.

    Raises InputError that names the first file that is missing or differs.
    """
    manifest = folder / SUMS
    if not manifest.is_file():
        raise InputError(f"{folder} is no model folder, or one not finished: it has no {SUMS}")
    for line in manifest.read_text().splitlines():
        digest, _, name = line.partition("  ")
        file = folder / name
        if not name or ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"{manifest}: line {line[:80]!r} is not `HASH  FILE` within the folder")
        if not file.is_file():
            raise InputError(f"{file} is missing, though {SUMS} lists it: copy the model folder anew")
        if Location.parse(file).sha256() != digest:
            raise InputError(f"{file} differs from {SUMS}: copy the model folder anew")
    return Location.parse(manifest).sha256()


def read_json(path: Path) -> Any:
    """A file of a model folder, parsed. Raises InputError that names it if it is missing or no JSON."""
    if not path.is_file():
        raise InputError(f"{path} is missing: copy the model folder anew")
    return Location.parse(path).read_json()


def read_fields(path: Path, *needed: str) -> dict[str, Any]:
    """A JSON object that has the fields that are needed. Raises InputError that names the first that is missing."""
    tree = read_json(path)
    fields: dict[str, Any] = tree if isinstance(tree, dict) else {}
    for name in needed:
        if not fields.get(name):
            raise InputError(f"{path} has no {name}: copy the model folder anew")
    return fields
