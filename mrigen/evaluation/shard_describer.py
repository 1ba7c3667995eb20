"""One shard of an evaluation, from images to what is seen of them: features, the condition classifier's answers, how
the autoencoder restores them.

Takes a shard of the plan; gives a table of `mrigen.evaluation.shard_files.SHARD_SCHEMA` with a row for each image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion.sampling import sample_noise
from mrigen.evaluation.planning import EvaluationPlan, ImageShard
from mrigen.evaluation.shard_files import SHARD_SCHEMA, ShardFiles
from mrigen.features.efficientnet import COMPUTE_BATCH
from mrigen.features.networks import Networks
from mrigen.images.index import Group, ImageRow, hash_order
from mrigen.labels import Modality
from mrigen.metrics.clinical import BrainSlice
from mrigen.metrics.image_quality import psnr, ssim
from mrigen.records import read_image_file, tensor_numpy, unpack_mask, write_table

Pixels = np.ndarray[Any, np.dtype[np.float32]]

_RESTORED = ("psnr", "ssim", "mae", "lesion_pixels", "lesion_mae", "error_sum", "restored_features")


class ShardDescriber:
    """Holds the networks and describes one shard after another.

    The same shard gives the same bits, at the same number of threads, whoever describes it.
    """

    def __init__(self, plan: EvaluationPlan, networks: Networks, config: Config, device: str = "cpu") -> None:
        """What a network would see that is not among `networks` is left out."""
        self._files, self._device = plan.files, torch.device(device)
        self._spacing_mm = config.data.spacing_mm if plan.brains_alone else None
        self._open: tuple[int, pa.Table] | None = None
        opened = networks.open(config, self._device)
        self._autoencoder, self._classifier = opened.autoencoder, opened.classifier
        size = config.evaluation.feature_size
        self._extractors = [opened.extractor(name, size, self._device) for name in plan.extractors]

    def __call__(self, shard: ImageShard) -> pa.Table:
        """Describe the images of a shard of the plan."""
        files = groupby(shard.rows, lambda row: row.file)
        tables = [self._read(number, list(rows)) for number, rows in files]
        pixels = np.concatenate([tensor_numpy(table["image"]) for table in tables])
        lesions = [packed for table in tables for packed in table["lesions"].to_pylist()]
        rows: list[dict[str, object]] = []
        for start in range(0, len(shard.rows), COMPUTE_BATCH):
            batch = slice(start, start + COMPUTE_BATCH)
            rows += self._batch(shard.rows[batch], pixels[batch], lesions[batch])
        _add_up_errors(rows)
        return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)

    def _read(self, number: int, rows: Sequence[ImageRow]) -> pa.Table:
        """Image and lesions of rows of one file. The last file is kept, for the next shard needs it too."""
        if self._open is None or self._open[0] != number:
            self._open = number, read_image_file(self._files[number], ["image", "lesions"])
        return self._open[1].take(pa.array([row.row for row in rows]))

    def _batch(
        self, chosen: Sequence[ImageRow], pixels: Pixels, lesions: Sequence[bytes | None]
    ) -> Iterator[dict[str, object]]:
        finite = [bool(np.isfinite(image).all()) for image in pixels]
        with torch.inference_mode():
            images = torch.from_numpy(np.nan_to_num(pixels))[:, None].to(self._device)
            features = self._features(images)
            logits = torch.cat(self._classifier(images), dim=1).double().cpu().numpy() if self._classifier else None
            restored = self._restored(chosen, images, lesions) if chosen[0].group == Group.HELD_OUT else None
        for i, row in enumerate(chosen):
            yield {
                "group": str(row.group),
                "id": row.id,
                "cell": str(row.cell),
                "owner": row.owner,
                "slice_mm": row.slice_mm,
                **self._measured(pixels[i], row.cell.modality if finite[i] else None),
                **(restored[i] if restored is not None and finite[i] else dict.fromkeys(_RESTORED)),
                "features": features[i] if finite[i] else None,
                "answers": logits[i].tobytes() if logits is not None and finite[i] else None,
                "image": pixels[i].astype(np.float16).tobytes() if row.kept and finite[i] else None,
            }

    def _measured(self, image: Pixels, modality: Modality | None) -> dict[str, float | None]:
        """What a radiologist would measure, where there is a `modality` and the skull is off."""
        if modality is None or self._spacing_mm is None:
            return {"bright_mm2": None, "ventricle_mm2": None}
        brain = BrainSlice.of(image, self._spacing_mm)
        return {"bright_mm2": brain.bright_mm2(modality), "ventricle_mm2": brain.ventricle_mm2(modality)}

    def _restored(
        self, chosen: Sequence[ImageRow], images: Tensor, lesions: Sequence[bytes | None]
    ) -> list[dict[str, object]] | None:
        """How its decoded mean, with noise by the image's name, clipped to [-1, 1], differs from each image."""
        if self._autoencoder is None:
            return None
        seeds = [int.from_bytes(hash_order(row.id)[:8]) for row in chosen]
        texture_noise = sample_noise(seeds, tuple(images.shape[1:])).to(self._device)
        restored = self._autoencoder.decode(self._autoencoder.encode(images).mean, texture_noise).clamp(-1.0, 1.0)
        errors = (restored.double() - images.double()).abs().cpu().numpy()
        decibels, likeness = psnr(restored, images).tolist(), ssim(restored, images).tolist()
        features = self._features(restored)
        masks = [None if packed is None else unpack_mask(packed, images.shape[2:]) for packed in lesions]
        return [
            {
                "psnr": decibels[i],
                "ssim": likeness[i],
                "mae": float(errors[i].mean()),
                "lesion_pixels": None if mask is None else int(mask.sum()),
                "lesion_mae": None if mask is None or not mask.any() else float(errors[i, 0][mask].mean()),
                "error_sum": errors[i, 0],
                "restored_features": features[i],
            }
            for i, mask in enumerate(masks)
        ]

    def _features(self, images: Tensor) -> list[list[bytes]]:
        """Of each image, those of each extractor."""
        by_extractor = [extract(images).float().cpu().numpy() for extract in self._extractors]
        return [[vectors[i].tobytes() for vectors in by_extractor] for i in range(len(images))]


def describe_once(files: ShardFiles, describer: ShardDescriber, shard: ImageShard) -> None:
    """Describe a shard and publish that, unless it was done before."""
    if not files.holds(shard):
        write_table(describer(shard), files.place_of(shard))


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
