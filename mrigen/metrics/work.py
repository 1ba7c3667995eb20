"""One shard of an evaluation, from images to a part: features, and how the autoencoder restores the image.

Takes rows of the plan; gives a table with a row for each: `group, id, cell, owner, slice_mm`, `psnr` and `ssim`
(held-out images, where there is an autoencoder), `features` (bytes of float32; null for an image that is not
finite) and `image` (bytes of float16; only of those kept).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mrigen.checkpoint import load_autoencoder
from mrigen.metrics.features import FeatureExtractor
from mrigen.metrics.image_quality import psnr, ssim
from mrigen.metrics.plan import Group, ImageRow, Plan
from mrigen.models.autoencoder import Autoencoder
from mrigen.records import tensor_numpy
from mrigen.storage import Location

Pixels = np.ndarray[Any, np.dtype[np.float32]]

COMPUTE_BATCH = 32
WEIGHTS = "diffusion_pytorch_model.safetensors"

PART_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("id", pa.string()),
        ("cell", pa.string()),
        ("owner", pa.string()),
        ("slice_mm", pa.float32()),
        ("psnr", pa.float64()),
        ("ssim", pa.float64()),
        ("features", pa.binary()),
        ("image", pa.binary()),
    ]
)


class ShardWorker:
    """Holds the networks and computes one shard after another.

    The same shard gives the same bits, at the same number of threads, whoever computes it.
    """

    def __init__(self, plan: Plan, feature_size: int, autoencoder: Location | None, device: str = "cpu") -> None:
        """`autoencoder` is its folder, None to leave its figures out."""
        self._plan, self._device = plan, torch.device(device)
        self._extractor = FeatureExtractor(feature_size).to(self._device)
        self._open: tuple[int, pa.ChunkedArray] | None = None
        self._autoencoder: Autoencoder | None = None
        if autoencoder is not None:
            with autoencoder.as_local() as folder:
                self._autoencoder = load_autoencoder(folder).to(self._device)

    def __call__(self, index: int) -> pa.Table:
        """Compute shard number `index` of the plan."""
        shard = self._plan.shards[index]
        files = groupby(shard, lambda row: row.file)
        pixels = np.concatenate([self._read(number, list(rows)) for number, rows in files])
        rows: list[dict[str, object]] = []
        for start in range(0, len(shard), COMPUTE_BATCH):
            batch = slice(start, start + COMPUTE_BATCH)
            rows += self._batch(shard[batch], pixels[batch])
        return pa.Table.from_pylist(rows, schema=PART_SCHEMA)

    def _read(self, number: int, rows: Sequence[ImageRow]) -> Pixels:
        """The pixels of rows of one file, (N, *spatial). The last file is kept, for the next shard needs it too."""
        if self._open is None or self._open[0] != number:
            data = io.BytesIO(self._plan.files[number].read_bytes())
            self._open = number, pq.read_table(data, columns=["image"], page_checksum_verification=True)["image"]
        return tensor_numpy(self._open[1].take(pa.array([row.row for row in rows])))

    def _batch(self, chosen: Sequence[ImageRow], pixels: Pixels) -> Iterator[dict[str, object]]:
        finite = [bool(np.isfinite(image).all()) for image in pixels]
        with torch.inference_mode():
            images = torch.from_numpy(np.nan_to_num(pixels))[:, None].to(self._device)
            features = self._extractor(images).cpu().numpy()
            restored = self._restore(images) if any(row.group == Group.HELD_OUT for row in chosen) else None
        for i, row in enumerate(chosen):
            judged = restored is not None and row.group == Group.HELD_OUT and finite[i]
            yield {
                "group": str(row.group),
                "id": row.id,
                "cell": str(row.cell),
                "owner": row.owner,
                "slice_mm": row.slice_mm,
                "psnr": float(restored[0][i]) if judged and restored is not None else None,
                "ssim": float(restored[1][i]) if judged and restored is not None else None,
                "features": features[i].tobytes() if finite[i] else None,
                "image": pixels[i].astype(np.float16).tobytes() if row.kept and finite[i] else None,
            }

    def _restore(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """PSNR and SSIM of decode(mean of encode), clipped to [-1, 1], each (B,)."""
        if self._autoencoder is None:
            return None
        restored = self._autoencoder.decode(self._autoencoder.encode(images).mean).clamp(-1.0, 1.0)
        return psnr(restored, images).cpu(), ssim(restored, images).cpu()


def folder_sha256(folder: Location) -> str:
    """One hash over names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in folder.files():
        digest.update(f"{file.path.removeprefix(folder.path)} {file.sha256()}\n".encode())
    return digest.hexdigest()


def find_autoencoder(run: Location) -> Location | None:
    """The trained autoencoder of a run, of its finished model if there is one; None if there is none."""
    candidates = [run / "vae"]
    if (run / "model" / "SHA256SUMS").is_file():
        candidates.insert(0, run / "model" / "vae")
    return next((folder for folder in candidates if (folder / WEIGHTS).is_file()), None)


def part_name(index: int) -> str:
    """The file of shard number `index`."""
    return f"part-{index:06d}.parquet"


def part_is_whole(part: Location, plan: Plan, index: int) -> bool:
    """Whether a part of that shard is there, readable and complete."""
    if not part.is_file():
        return False
    try:
        table = pq.read_table(io.BytesIO(part.read_bytes()), page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):
        return False
    return bool(table.schema.equals(PART_SCHEMA)) and table["id"].to_pylist() == [row.id for row in plan.shards[index]]


def read_parts(folder: Location, plan: Plan) -> Iterator[pa.Table]:
    """Every part of the plan, in the order of the shards, checksums verified."""
    for index in range(len(plan.shards)):
        data = io.BytesIO((folder / part_name(index)).read_bytes())
        yield pq.read_table(data, page_checksum_verification=True)
