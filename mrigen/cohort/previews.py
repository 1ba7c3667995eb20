"""The samples of a shard as pictures to look at: a PNG each, which says in its text how to make the sample again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mrigen.cohort.plan import SampleRow
from mrigen.pictures import sample_png
from mrigen.samples import Sample


def preview_files(rows: Sequence[SampleRow], samples: Sequence[Sample]) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file; of a volume its middle slice, and what is no number is black."""
    for row, sample in zip(rows, samples, strict=True):
        image = sample.image if sample.image.ndim == 2 else sample.image[:, :, sample.image.shape[2] // 2]
        yield f"previews/{row.id}.png", sample_png(np.nan_to_num(image, nan=-1.0), sample.provenance())
