"""One Parquet file for each shard of an evaluation: what was seen of its images.

A row has `group, id, cell, owner, slice_mm`, `psnr`, `ssim` and `mae` (held-out images, where there is an autoencoder),
`bright_mm2` and `ventricle_mm2` (of `mrigen.metrics.clinical`; null in modalities that do not show them, and where
images may show a skull), `lesion_pixels` (as many as the image's mask marks; null without a mask) and `lesion_mae` (the
error within them),
`features` (bytes of float32 for each extractor; null for an image that is not finite) and `restored_features` (the same
of the restored image), `answers` (bytes of float64: the condition classifier's logits of pathology, then of modality;
null likewise, or without a classifier) and `image` (bytes of float16; only of those kept). The last held-out row of
each cell carries `error_sum`: the absolute error of the restored images, pixel by pixel, summed in float64 over the
cell's rows here.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from mrigen.evaluation.planning import ImageShard
from mrigen.images.index import Group
from mrigen.records import is_whole
from mrigen.storage import Location

SHARD_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("id", pa.string()),
        ("cell", pa.string()),
        ("owner", pa.string()),
        ("slice_mm", pa.float32()),
        ("bright_mm2", pa.float64()),
        ("ventricle_mm2", pa.float64()),
        ("psnr", pa.float64()),
        ("ssim", pa.float64()),
        ("mae", pa.float64()),
        ("lesion_pixels", pa.int32()),
        ("lesion_mae", pa.float64()),
        ("error_sum", pa.binary()),
        ("restored_features", pa.list_(pa.binary())),
        ("features", pa.list_(pa.binary())),
        ("answers", pa.binary()),
        ("image", pa.binary()),
    ]
)


@dataclass(frozen=True)
class ShardFiles:
    """Where the files lie: those of `real` images, which serve later evaluations too, and of `generated` ones."""

    real: Location
    generated: Location

    def place_of(self, shard: ImageShard) -> Location:
        """That of a shard's file, be it there or not."""
        return (self.generated if shard.group == Group.GENERATED else self.real) / f"part-{shard.key}.parquet"

    def holds(self, shard: ImageShard) -> bool:
        """Whether the file of a shard is there, readable and complete."""
        return is_whole(self.place_of(shard), [row.id for row in shard.rows], SHARD_SCHEMA)
