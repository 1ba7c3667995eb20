"""One shard of an evaluation, from images to a part: features, the judge's answers, how the autoencoder restores them.

Takes rows of the plan; gives a table of `mrigen.metrics.parts.PART_SCHEMA` with a row for each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mrigen.config import Config
from mrigen.metrics.extractors import build_extractors
from mrigen.metrics.image_quality import psnr, ssim
from mrigen.metrics.networks import Networks
from mrigen.metrics.parts import PART_SCHEMA
from mrigen.metrics.plan import Group, ImageRow, Plan
from mrigen.records import tensor_numpy

Pixels = np.ndarray[Any, np.dtype[np.float32]]

COMPUTE_BATCH = 32
_NOT_RESTORED = {"psnr": None, "ssim": None, "mae": None, "error_sum": None}


class ShardWorker:
    """Holds the networks and computes one shard after another.

    The same shard gives the same bits, at the same number of threads, whoever computes it.
    """

    def __init__(self, plan: Plan, networks: Networks, config: Config, device: str = "cpu") -> None:
        """Figures of a network that is not among `networks` are left out."""
        self._plan, self._device = plan, torch.device(device)
        self._open: tuple[int, pa.ChunkedArray] | None = None
        opened = networks.open(config, self._device)
        self._autoencoder, self._judge = opened.autoencoder, opened.judge
        self._extractors = build_extractors(plan.extractors, config.evaluation, opened, self._device)

    def __call__(self, index: int) -> pa.Table:
        """Compute shard number `index` of the plan."""
        shard = self._plan.shards[index].rows
        files = groupby(shard, lambda row: row.file)
        pixels = np.concatenate([self._read(number, list(rows)) for number, rows in files])
        rows: list[dict[str, object]] = []
        for start in range(0, len(shard), COMPUTE_BATCH):
            batch = slice(start, start + COMPUTE_BATCH)
            rows += self._batch(shard[batch], pixels[batch])
        _add_up_errors(rows)
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
            features = [extract(images).float().cpu().numpy() for extract in self._extractors]
            answers = torch.cat(self._judge(images), dim=1).double().cpu().numpy() if self._judge else None
            restored = self._restored(images) if chosen[0].group == Group.HELD_OUT else None
        for i, row in enumerate(chosen):
            yield {
                "group": str(row.group),
                "id": row.id,
                "cell": str(row.cell),
                "owner": row.owner,
                "slice_mm": row.slice_mm,
                **(restored[i] if restored is not None and finite[i] else _NOT_RESTORED),
                "features": [vectors[i].tobytes() for vectors in features] if finite[i] else None,
                "answers": answers[i].tobytes() if answers is not None and finite[i] else None,
                "image": pixels[i].astype(np.float16).tobytes() if row.kept and finite[i] else None,
            }

    def _restored(self, images: Tensor) -> list[dict[str, object]] | None:
        """How decode(mean of encode), clipped to [-1, 1], differs from each image."""
        if self._autoencoder is None:
            return None
        restored = self._autoencoder.decode(self._autoencoder.encode(images).mean).clamp(-1.0, 1.0)
        errors = (restored.double() - images.double()).abs().cpu().numpy()
        decibels, likeness = psnr(restored, images).tolist(), ssim(restored, images).tolist()
        return [
            {"psnr": decibels[i], "ssim": likeness[i], "mae": float(errors[i].mean()), "error_sum": errors[i, 0]}
            for i in range(len(images))
        ]


def _add_up_errors(rows: Sequence[dict[str, object]]) -> None:
    """Leave the errors of a cell, summed over its rows, on the last of them."""
    totals: dict[object, Any] = {}
    last: dict[object, dict[str, object]] = {}
    for row in rows:
        if (errors := row["error_sum"]) is not None:
            totals[row["cell"]] = totals.get(row["cell"], 0.0) + errors
            last[row["cell"]] = row
            row["error_sum"] = None
    for cell, row in last.items():
        row["error_sum"] = totals[cell].tobytes()
