"""Blocks of images on disk, a Parquet file each: what is compared of their images, made once and read with bounded
memory.

A row has `id, owner, fault` (null where the image can be compared), `features` and `spectrum` (unit length, float32)
and `image` (float16).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mrigen.audit.likeness import MIN_DEVIATION, unit_features, unit_spectrum
from mrigen.audit.pairing import AuditPlan
from mrigen.config import Config
from mrigen.features.efficientnet import COMPUTE_BATCH, FeatureExtractor
from mrigen.images.index import Group, in_file_order
from mrigen.images.labelled import read_pixels
from mrigen.preprocess import mirrors
from mrigen.records import is_whole, read_file, write_table
from mrigen.storage import Location

Pixels = np.ndarray[Any, np.dtype[np.float32]]

CACHE_BYTES = 512 * 2**20
"""Features and pixels of blocks that a worker keeps for the next search."""


def block_file(folder: Location, number: int) -> Location:
    """Where block `number` lies."""
    return folder / f"block-{number:06d}.parquet"


@dataclass(frozen=True)
class BlockImages:
    """The images of one block or of several, with all that they are compared by."""

    ids: Any
    owners: Any
    faults: Any
    """(R,) each, of strings; a fault is None where there is none."""
    features: Any
    """(R, F) float32."""
    spectrum: Any
    """(R, G) float32."""
    images: Any
    """(R, X, Y) float16."""

    @classmethod
    def joined(cls, blocks: Sequence[BlockImages]) -> Self:
        """Blocks one after another."""
        return cls(*map(np.concatenate, zip(*(block._columns() for block in blocks), strict=True)))

    def taken(self, rows: Any) -> BlockImages:
        """Some of its images."""
        return BlockImages(*(column[rows] for column in self._columns()))

    def _columns(self) -> list[Any]:
        return [getattr(self, column.name) for column in fields(self)]

    @cached_property
    def sound(self) -> Any:
        """Which images can be compared, (R,)."""
        return np.array([fault is None for fault in self.faults])

    @property
    def num_bytes(self) -> int:
        """Memory of descriptors and pixels."""
        return int(self.features.nbytes + self.spectrum.nbytes + self.images.nbytes)


class BlockMaker:
    """Makes the blocks of one shard after another, with a network that it holds."""

    def __init__(
        self,
        plan: AuditPlan,
        config: Config,
        folder: Location,
        device: str = "cpu",
        extract: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Blocks are left in `folder`. `extract` takes images (B, 1, X, Y) in [-1, 1] to features (B, F), on `device`;
        it is EfficientNet-Lite0 where it is not given."""
        self._plan, self._folder, self._device = plan, folder, torch.device(device)
        self._extract = extract or FeatureExtractor(config.evaluation.feature_size).to(self._device)
        self._mirror = mirrors(config.data.plane)

    def make(self, shard: Sequence[int]) -> None:
        """Publish the blocks of these numbers, but those that are there and whole."""
        blocks = {number: self._plan.blocks[number].rows for number in shard}
        missing = {
            number: rows
            for number, rows in blocks.items()
            if not is_whole(block_file(self._folder, number), [row.id for row in rows])
        }
        ordered = in_file_order(row for rows in missing.values() for row in rows)
        images = (image for some in read_pixels(self._plan.files, ordered) for image in some)
        pixels = dict(zip(ordered, images, strict=True))
        for number, rows in missing.items():
            some = np.stack([pixels[row] for row in rows]).astype(np.float32)
            found = self.described([row.id for row in rows], [row.owner for row in rows], some)
            write_table(_table(found), block_file(self._folder, number))

    def described(self, ids: Sequence[str], owners: Sequence[str], pixels: Pixels) -> BlockImages:
        """Images (R, X, Y) with all that they are compared by."""
        sound = np.nan_to_num(pixels, posinf=1.0, neginf=-1.0)
        features, spectra = [], []
        with torch.inference_mode():
            for batch in np.split(sound, range(COMPUTE_BATCH, len(sound), COMPUTE_BATCH)):
                images = torch.from_numpy(batch)[:, None].to(self._device)
                features.append(unit_features(self._extract, images, mirror=self._mirror).cpu())
                spectra.append(unit_spectrum(images).cpu())
        faults = np.array([_fault(image) for image in pixels], object)
        descriptors = torch.cat(features).numpy(), torch.cat(spectra).numpy()
        return BlockImages(np.array(ids), np.array(owners), faults, *descriptors, sound.astype(np.float16))


class BlockReader:
    """Blocks by their numbers; keeps those read last, as many as fit into CACHE_BYTES."""

    def __init__(self, plan: AuditPlan, folder: Location) -> None:
        self._folder, self._shape = folder, plan.shape
        self._kept: OrderedDict[int, BlockImages] = OrderedDict()
        self.num_bytes = 0

    def __getitem__(self, number: int) -> BlockImages:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        table = read_file(block_file(self._folder, number))
        block = BlockImages(
            np.array(table["id"].to_pylist()),
            np.array(table["owner"].to_pylist()),
            np.array(table["fault"].to_pylist(), object),
            _unfixed(table["features"]),
            _unfixed(table["spectrum"]),
            _unfixed(table["image"]).reshape(-1, *self._shape),
        )
        self._kept[number] = block
        self.num_bytes += block.num_bytes
        while self.num_bytes > CACHE_BYTES and len(self._kept) > 1:
            self.num_bytes -= self._kept.popitem(last=False)[1].num_bytes
        return block


def read_images(plan: AuditPlan, folder: Location, wanted: set[tuple[Group, str]]) -> dict[tuple[Group, str], Pixels]:
    """The pixels of some images, by group and id."""
    reader, found = BlockReader(plan, folder), {}
    for number, block in enumerate(plan.blocks):
        rows = [k for k, row in enumerate(block.rows) if (block.group, row.id) in wanted]
        for k in rows:
            found[block.group, block.rows[k].id] = reader[number].images[k].astype(np.float32)
    return found


def _table(block: BlockImages) -> pa.Table:
    columns = {
        "id": pa.array(block.ids.tolist()),
        "owner": pa.array(block.owners.tolist()),
        "fault": pa.array(block.faults.tolist(), pa.string()),
        "features": _fixed(block.features),
        "spectrum": _fixed(block.spectrum),
        "image": _fixed(block.images.reshape(len(block.ids), -1)),
    }
    return pa.table(columns)


def _fault(image: Pixels) -> str | None:
    if not np.isfinite(image).all():
        return "not finite"
    return "constant" if float(image.std()) < MIN_DEVIATION else None


def _fixed(values: Any) -> pa.Array:
    """(R, N) -> a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _unfixed(column: pa.ChunkedArray) -> Any:
    """A column of fixed-size lists -> (R, N)."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return np.array(array.flatten()).reshape(len(array), -1)
