"""The parts of an evaluation -> its figures, cell by cell and pooled.

Rows are put into one order, that of their ids' hashes, before anything is added up: the figures depend neither
on how many workers there were nor on the order in which they finished.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mrigen.config import Config
from mrigen.labels import Cell, all_cells
from mrigen.metrics.distribution import fid
from mrigen.metrics.features import NUM_FEATURES
from mrigen.metrics.figure import Figure
from mrigen.metrics.image_quality import draw_pairs, pairwise_ms_ssim
from mrigen.metrics.plan import Group, hash_order

FIGURES = ("autoencoder_psnr_db", "autoencoder_ssim", "fid", "fid_floor", "ms_ssim_generated", "ms_ssim_real")

Slice = np.ndarray[Any, np.dtype[np.float32]]


@dataclass
class Looked:
    """What the parts hold of one group of one cell."""

    owners: list[str] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    features: list[np.ndarray[Any, np.dtype[np.float32]]] = field(default_factory=list)
    kept_owners: list[str] = field(default_factory=list)
    kept: list[tuple[float, Slice]] = field(default_factory=list)
    """Height in mm and pixels of the images that were kept."""
    num_broken: int = 0

    def __len__(self) -> int:
        return len(self.owners)

    def feature_tensor(self) -> Tensor:
        """Features (N, D)."""
        return torch.from_numpy(np.stack(self.features)) if self.features else torch.empty(0, NUM_FEATURES)


@dataclass(frozen=True)
class Row:
    """One row of the report: a cell, or several pooled. `images` counts them by group, and the held-out subjects."""

    name: str
    cell: Cell | None
    untrained: bool
    images: Mapping[str, int]
    figures: Mapping[str, Figure]

    def as_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        labels = {"pathology": str(self.cell.pathology), "modality": str(self.cell.modality)} if self.cell else {}
        return {
            **labels,
            "untrained": self.untrained,
            "images": dict(self.images),
            **{name: figure.as_json() for name, figure in self.figures.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """All figures, and a few images of each group and cell to look at, lowest slice first."""

    split: str
    cells: Sequence[Row]
    pooled: Sequence[Row]
    pictures: Mapping[tuple[Group, Cell], Sequence[Slice]]


def gather(parts: Iterable[pa.Table], shape: tuple[int, ...]) -> dict[tuple[Group, Cell], Looked]:
    """Sort the rows of all parts, given in any order, by group and cell; `shape` is that of an image."""
    rows = [row for part in parts for row in part.to_pylist()]
    found: dict[tuple[Group, Cell], Looked] = defaultdict(Looked)
    for row in sorted(rows, key=lambda row: hash_order(row["id"])):
        looked = found[Group(row["group"]), Cell.parse(row["cell"])]
        looked.owners.append(row["owner"])
        if row["psnr"] is not None:
            looked.psnr.append(row["psnr"])
            looked.ssim.append(row["ssim"])
        if row["features"] is None:
            looked.num_broken += 1
        else:
            looked.features.append(np.frombuffer(row["features"], np.float32))
        if row["image"] is not None:
            image = np.frombuffer(row["image"], np.float16).reshape(shape).astype(np.float32)
            looked.kept_owners.append(row["owner"])
            looked.kept.append((row["slice_mm"], image))
    return found


def summarise(
    found: Mapping[tuple[Group, Cell], Looked],
    config: Config,
    *,
    split: str,
    untrained: frozenset[Cell],
    no_autoencoder: str | None = None,
    no_samples: str | None = None,
    num_pictures: int = 6,
) -> Evaluation:
    """All figures. `no_autoencoder` and `no_samples` are the reasons where a whole group is not there."""
    with _one_thread():
        return _summarise(found, config, split, untrained, no_autoencoder, no_samples, num_pictures)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread, so that the last bits do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _summarise(
    found: Mapping[tuple[Group, Cell], Looked],
    config: Config,
    split: str,
    untrained: frozenset[Cell],
    no_autoencoder: str | None,
    no_samples: str | None,
    num_pictures: int,
) -> Evaluation:
    rows, pairs = [], {}
    for cell in all_cells():
        held_out, samples, reference = (
            found.get((group, cell), Looked()) for group in (Group.HELD_OUT, Group.GENERATED, Group.REFERENCE)
        )
        empty = f"no image of this cell in the {split} split"
        missing = no_samples or "no generated image of this cell"
        pairs[cell] = {
            "ms_ssim_generated": _pair_values(samples, config, f"{Group.GENERATED}/{cell}"),
            "ms_ssim_real": _pair_values(held_out, config, f"{Group.HELD_OUT}/{cell}"),
        }
        figures = {
            "autoencoder_psnr_db": Figure.mean(held_out.psnr, no_autoencoder or empty),
            "autoencoder_ssim": Figure.mean(held_out.ssim, no_autoencoder or empty),
            "fid": _whole(samples, missing) or _whole(held_out, empty) or _fid(held_out, samples),
            "fid_floor": _whole(held_out, empty)
            or _whole(reference, "no image of this cell in the train split")
            or _fid(held_out, reference),
            "ms_ssim_generated": _whole(samples, missing)
            or Figure.mean(pairs[cell]["ms_ssim_generated"], "a pair needs two images"),
            "ms_ssim_real": _whole(held_out, empty)
            or Figure.mean(pairs[cell]["ms_ssim_real"], "a pair needs images of two subjects"),
        }
        rows.append(Row(str(cell), cell, cell in untrained, _counts([held_out], [samples], [reference]), figures))
    trained_cells = [cell for cell in all_cells() if cell not in untrained]
    pooled = [_pool("All trained cells", trained_cells, False, found, pairs, no_autoencoder, no_samples)]
    if untrained:
        cells = [cell for cell in all_cells() if cell in untrained]
        pooled.append(_pool("All untrained cells", cells, True, found, pairs, no_autoencoder, no_samples))
    pictures = {key: _spread(looked.kept, num_pictures) for key, looked in found.items() if looked.kept}
    return Evaluation(split, rows, pooled, pictures)


def _pool(
    name: str,
    cells: Sequence[Cell],
    untrained: bool,
    found: Mapping[tuple[Group, Cell], Looked],
    pairs: Mapping[Cell, Mapping[str, Sequence[float]]],
    no_autoencoder: str | None,
    no_samples: str | None,
) -> Row:
    """The figures over several cells. FID takes equally many images of every cell from both sides, so that it
    measures the images and not the mixture of cells; pairs never cross cells."""
    held_out, samples, reference = (
        [found.get((group, cell), Looked()) for cell in cells]
        for group in (Group.HELD_OUT, Group.GENERATED, Group.REFERENCE)
    )
    # The floor takes from each cell what FID took, or all where nothing was generated.
    compared = [len(one) for one in (samples if any(samples) else held_out)]
    empty = "no held-out image in these cells"
    missing = no_samples or "no generated image in these cells"
    values = {key: [v for cell in cells for v in pairs[cell][key]] for key in ("ms_ssim_generated", "ms_ssim_real")}
    figures = {
        "autoencoder_psnr_db": Figure.mean([v for one in held_out for v in one.psnr], no_autoencoder or empty),
        "autoencoder_ssim": Figure.mean([v for one in held_out for v in one.ssim], no_autoencoder or empty),
        "fid": _pooled_fid(held_out, samples, [len(one) for one in samples], missing),
        "fid_floor": _pooled_fid(held_out, reference, compared, "no training image in these cells"),
        "ms_ssim_generated": Figure.mean(values["ms_ssim_generated"], missing),
        "ms_ssim_real": Figure.mean(values["ms_ssim_real"], empty),
    }
    return Row(name, None, untrained, _counts(held_out, samples, reference), figures)


def _fid(real: Looked, fake: Looked) -> Figure:
    return fid(real.feature_tensor(), fake.feature_tensor())


def _pooled_fid(real: Sequence[Looked], fake: Sequence[Looked], counts: Sequence[int], nothing: str) -> Figure:
    """FID over the first `counts` images of every cell, or of as many as both sides have."""
    if broken := sum(one.num_broken for one in (*real, *fake)):
        return Figure.missing(f"{broken} images hold values that are not finite")
    counts = [min(n, len(one), len(other)) for n, one, other in zip(counts, real, fake, strict=True)]
    if not any(counts):
        return Figure.missing(nothing)
    sides = [[one.feature_tensor()[:n] for one, n in zip(side, counts, strict=True)] for side in (real, fake)]
    return fid(torch.cat(sides[0]), torch.cat(sides[1]))


def _whole(looked: Looked, nothing: str) -> Figure | None:
    """The reason why a group gives no figure, or None: it is empty, or broken images are among it."""
    if not len(looked):
        return Figure.missing(nothing)
    if looked.num_broken:
        reason = f"{looked.num_broken} of {len(looked)} images hold values that are not finite"
        return Figure.missing(reason, len(looked))
    return None


def _pair_values(looked: Looked, config: Config, name: str) -> list[float]:
    """MS-SSIM of random pairs of kept images of different owners; the draw depends on the seed and `name`."""
    if len(looked.kept) < 2:
        return []
    seed = int.from_bytes(hashlib.sha256(f"{config.seed}/ms-ssim/{name}".encode()).digest()[:8], "big")
    chosen = draw_pairs(looked.kept_owners, config.evaluation.num_pairs, np.random.default_rng(seed))
    images = torch.from_numpy(np.stack([image for _, image in looked.kept]))[:, None]
    return pairwise_ms_ssim(images, chosen)


def _counts(held_out: Sequence[Looked], samples: Sequence[Looked], reference: Sequence[Looked]) -> dict[str, int]:
    return {
        "held_out": sum(map(len, held_out)),
        "held_out_subjects": len({owner for looked in held_out for owner in looked.owners}),
        "generated": sum(map(len, samples)),
        "reference": sum(map(len, reference)),
    }


def _spread(kept: Sequence[tuple[float, Slice]], count: int) -> list[Slice]:
    """`count` images evenly spread over the heights."""
    ordered = sorted(kept, key=lambda pair: pair[0])
    if len(ordered) > count:
        ordered = [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]
    return [image for _, image in ordered]
