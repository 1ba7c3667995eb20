"""The parts of an evaluation, one Parquet file for each shard: what was seen of its images.

A row has `group, id, cell, owner, slice_mm`, `psnr`, `ssim` and `mae` (held-out images, where there is an autoencoder),
`lesion_pixels` (as many as the image's mask marks; null without a mask) and `lesion_mae` (the error within them),
`features` (bytes of float32 for each extractor; null for an image that is not finite), `answers` (bytes of float64: the
judge's logits of pathology, then of modality; null likewise, or without a judge) and `image` (bytes of float16; only
of those kept). The last held-out row of each cell carries `error_sum`: the absolute error of the restored images,
pixel by pixel, summed in float64 over the cell's rows here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from mrigen.evaluation.shards import Plan, Shard
from mrigen.images.index import Group
from mrigen.storage import Location

PART_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("id", pa.string()),
        ("cell", pa.string()),
        ("owner", pa.string()),
        ("slice_mm", pa.float32()),
        ("psnr", pa.float64()),
        ("ssim", pa.float64()),
        ("mae", pa.float64()),
        ("lesion_pixels", pa.int32()),
        ("lesion_mae", pa.float64()),
        ("error_sum", pa.binary()),
        ("features", pa.list_(pa.binary())),
        ("answers", pa.binary()),
        ("image", pa.binary()),
    ]
)


def part_of(shard: Shard, cache: Location, parts: Location) -> Location:
    """Where the part of a shard lies: in `cache` that of real images, which serves later evaluations too, in `parts`
    that of generated ones."""
    return (parts if shard.group == Group.GENERATED else cache) / f"part-{shard.key}.parquet"


def part_is_whole(part: Location, shard: Shard) -> bool:
    """Whether a part of that shard is there, readable and complete."""
    if not part.is_file():
        return False
    try:
        table = pq.read_table(io.BytesIO(part.read_bytes()), page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):
        return False
    return bool(table.schema.equals(PART_SCHEMA)) and table["id"].to_pylist() == [row.id for row in shard.rows]


def read_parts(plan: Plan, cache: Location, parts: Location) -> Iterator[pa.Table]:
    """Every part of the plan, in the order of the shards, checksums verified."""
    for shard in plan.shards:
        data = io.BytesIO(part_of(shard, cache, parts).read_bytes())
        yield pq.read_table(data, page_checksum_verification=True)
