"""The samples of a shard as one tar file, which WebDataset and its like stream to a training: `ID.npy`, `ID.json`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence

import numpy as np

from mrigen.cohort.plan import SampleRow
from mrigen.samples import Sample


def webdataset_files(rows: Sequence[SampleRow], samples: Sequence[Sample]) -> Iterator[tuple[str, bytes]]:
    """Path and content of the file; images are float16 (*spatial) in [-1, 1]. The same samples give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, sample in zip(rows, samples, strict=True):
            image = io.BytesIO()
            np.save(image, sample.image.astype(np.float16), allow_pickle=False)
            facts = {"id": row.id, **sample.provenance()}
            for name, data in ((f"{row.id}.npy", image.getvalue()), (f"{row.id}.json", json.dumps(facts).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    yield f"webdataset/shard-{rows[0].shard:06d}.tar", buffer.getvalue()
