"""The samples of a shard as a file that `datasets.load_dataset(FOLDER)` reads, which knows no tensors of Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from mrigen.cohort.plan import SampleRow
from mrigen.records import table_bytes
from mrigen.samples import Sample

_COLUMNS = ("pathology", "modality", "trained_cell", "slice_mm", "seed", "model_sha256")


def huggingface_files(rows: Sequence[SampleRow], samples: Sequence[Sample]) -> Iterator[tuple[str, bytes]]:
    """Path and content of the file; images are nested lists of float16 in [-1, 1]."""
    told = [sample.provenance() for sample in samples]
    images = np.stack([sample.image for sample in samples]).astype(np.float16)
    nested = pa.array(images.ravel())
    for size in reversed(images.shape[1:]):
        nested = pa.ListArray.from_arrays(pa.array(np.arange(0, len(nested) + 1, size), pa.int32()), nested)
    columns = {name: [facts[name] for facts in told] for name in _COLUMNS}
    columns["seed"] = pa.array(columns["seed"], pa.uint64())
    table = pa.table({"id": [row.id for row in rows], **columns, "image": nested})
    yield f"huggingface/shard-{rows[0].shard:06d}.parquet", table_bytes(table)
