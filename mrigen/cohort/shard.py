"""A shard, the unit of work: its samples as files of the formats asked for, its part of the manifest last."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrigen.cohort.bids import bids_files, image_path
from mrigen.cohort.huggingface import huggingface_files
from mrigen.cohort.plan import CohortPlan, SampleRow
from mrigen.cohort.previews import preview_files
from mrigen.cohort.webdataset import webdataset_files
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.quality import fault_of
from mrigen.records import read_file, sample_schema, table_bytes, to_table
from mrigen.samples import Sample
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.pipeline import Pipeline

Writer = Callable[[Sequence[SampleRow], Sequence[Sample]], Iterator[tuple[str, bytes]]]
"""Gives path and content of every file that a shard has in a format."""

Gate = Callable[[Sequence[Sample]], Sequence[str | None]]
"""Says of samples that can be scans why each is rejected, None where it is not."""

_WRITERS = 8
"""Files of a shard that are on their way to the disk or store at once, each in a thread: most of that is waiting."""

_REJECTED = pa.schema([("id", pa.string()), ("redraw", pa.int32()), ("seed", pa.uint64()), ("reason", pa.string())])

FORMATS: Mapping[str, Writer] = {
    "bids": bids_files,
    "webdataset": webdataset_files,
    "huggingface": huggingface_files,
    "previews": preview_files,
    "parquet": lambda rows, samples: iter(()),
}
"""What a data set can be written as, by the name of the format. The manifest is Parquet with the images in it, and
always there."""


def manifest_part(folder: Location, shard: int) -> Location:
    """Where the manifest of a shard stands, once all its files do."""
    return folder / "manifest" / f"shard-{shard:06d}.parquet"


def missing_shards(plan: CohortPlan, folder: Location) -> list[int]:
    """The shards of a plan that are not in `folder` yet."""
    made = {file.name for file in (folder / "manifest").files(".parquet")}
    return [shard for shard in range(plan.num_shards) if manifest_part(folder, shard).name not in made]


@dataclass(frozen=True)
class ShardReport:
    """How many samples were planned of a shard, and what was rejected: how many drawings for which reason, and the
    samples that are left out for good; and the seconds that it took to make, none where it stood whole."""

    num_planned: int
    rejected: Mapping[str, int]
    left_out: Sequence[str]
    seconds: float = field(default=0.0, compare=False)

    def tally(self) -> tuple[int, dict[str, int]]:
        """For `mrigen.each.Tally`."""
        return self.num_planned, {"rejected": sum(self.rejected.values())}


def make_shard(
    pipeline: Pipeline, plan: CohortPlan, shard: int, folder: Location, gates: Sequence[Gate] = ()
) -> ShardReport:
    """Generate the samples of a shard of a plan into `folder`; `gates` are those of the plan.

    A shard that stands there whole is left as it is. Work is idempotent: done twice, or by two workers at once, it
    leaves the same bytes. Raises InputError if all samples are rejected.
    """
    seconds = 0.0
    if differences(plan, shard, folder):
        started = time.perf_counter()
        _publish(shard_files(pipeline, plan, plan.shard(shard), gates), manifest_part(folder, shard), folder)
        seconds = time.perf_counter() - started
    facts = _facts(pq.read_schema(io.BytesIO(manifest_part(folder, shard).read_bytes())))
    return ShardReport(plan.num_rows(shard), facts["rejected"], facts["left_out"], seconds)


def _publish(files: Iterable[tuple[str, bytes]], part: Location, folder: Location) -> None:
    """Write files while the next are packed, and the part of the manifest once all others stand."""
    with ThreadPoolExecutor(_WRITERS) as writers:
        written: list[Future[None]] = []
        for path, content in files:
            if folder / path == part:
                for file in written:
                    file.result()
            written.append(writers.submit((folder / path).write_bytes, content))
        written[-1].result()


def shard_files(
    pipeline: Pipeline, plan: CohortPlan, rows: Sequence[SampleRow], gates: Sequence[Gate] = ()
) -> Iterator[tuple[str, bytes]]:
    """Generate the samples of the rows of a shard: path and content of every file, the part of the manifest last."""
    drawn, rejections = _draw(pipeline, plan, rows, gates)
    if not drawn:
        counts = Counter(rejection["reason"] for rejection in rejections)
        why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        told = f"all drawings of shard {rows[0].shard} were rejected: {why}"
        remedy = "allow more --redraws or leave out --gates" if gates else "take them as they are (--redraws 0)"
        raise InputError(f"{told}; train the model longer, or {remedy}")
    rows, samples = [row for row in rows if row.id in drawn], list(drawn.values())
    hashes: dict[str, str] = {}
    number = f"shard-{rows[0].shard:06d}"
    rejected = pa.Table.from_pylist(rejections, _REJECTED)
    more = [(f"rejected/{number}.parquet", table_bytes(rejected))] if rejections else []
    for path, content in itertools.chain(*(FORMATS[name](rows, samples) for name in plan.formats), more):
        hashes[path] = hashlib.sha256(content).hexdigest()
        yield path, content
    records = [_record(row, sample, hashes) for row, sample in zip(rows, samples, strict=True)]
    left_out = [rejection["id"] for rejection in rejections if rejection["redraw"] == plan.redraws]
    reasons = dict(Counter(rejection["reason"] for rejection in rejections))
    facts = {"files": hashes, "rejected": reasons, "left_out": left_out}
    schema = sample_schema(samples[0].image.shape).with_metadata({"shard": json.dumps(facts)})
    yield f"manifest/{number}.parquet", table_bytes(to_table(records, schema))


def _draw(
    pipeline: Pipeline, plan: CohortPlan, rows: Sequence[SampleRow], gates: Sequence[Gate]
) -> tuple[dict[str, Sample], list[dict[str, Any]]]:
    """The sample of each row, by its id in the order of the rows, and a row for every one that was rejected; with one
    image of a person the others are."""
    found: dict[str, Sample] = {}
    rejections: list[dict[str, Any]] = []
    missing = list(rows)
    for redraw in range(plan.redraws + 1):
        samples = pipeline.sample([plan.request(row, redraw) for row in missing])
        faults = _faults(pipeline, samples, gates) if plan.redraws else [None] * len(samples)
        spoilt = {row.subject for row, fault in zip(missing, faults, strict=True) if fault}
        for row, sample, fault in zip(missing, samples, faults, strict=True):
            if row.subject not in spoilt:
                found[row.id] = sample
            else:
                told = {"id": row.id, "redraw": redraw, "seed": sample.request.seed}
                rejections.append(told | {"reason": fault or "another modality"})
        missing = [row for row in missing if row.id not in found]
        if not missing:
            break
    return {row.id: found[row.id] for row in rows if row.id in found}, rejections


def _faults(pipeline: Pipeline, samples: Sequence[Sample], gates: Sequence[Gate]) -> list[str | None]:
    limits = pipeline.model.image_limits
    found = [fault_of(sample.image, limits.get(sample.request.cell.modality)) for sample in samples]
    for gate in gates:
        if places := [place for place, fault in enumerate(found) if fault is None]:
            for place, fault in zip(places, gate([samples[place] for place in places]), strict=True):
                found[place] = fault
    return found


def differences(plan: CohortPlan, shard: int, folder: Location) -> list[str]:
    """What a shard in `folder` lacks, or has otherwise than plan, manifest and hashes say; a line each."""
    part = manifest_part(folder, shard)
    if not part.is_file():
        return [f"{part} is missing"]
    try:
        table = read_file(part)
        facts = _facts(table.schema)
        files, left_out = facts["files"], facts["left_out"]
        columns = [table[name].to_pylist() for name in ("id", "shard", "pathology", "modality", "index")]
    except InputError as error:
        return [str(error)]
    except (KeyError, ValueError):
        return [f"{part} is not from this version of `mrigen generate`"]
    planned = [
        (row.id, row.shard, str(row.kind.cell.pathology), str(row.kind.cell.modality), row.index)
        for row in plan.shard(shard)
        if row.id not in left_out
    ]
    if list(zip(*columns, strict=True)) != planned:
        return [f"{part} does not hold the rows of the plan"]
    found = []
    for path, digest in files.items():
        file = folder / path
        if not file.is_file():
            found.append(f"{file} is missing")
        elif file.sha256() != digest:
            found.append(f"{file} differs from its hash in {part.name}")
    return found


def strays(plan: CohortPlan, shard: int, folder: Location) -> list[str]:
    """The files in the BIDS folders of a shard that its manifest does not name: readers would take them for some of the
    data set. Nothing where the manifest is missing or damaged."""
    if "bids" not in plan.formats:
        return []
    try:
        named = _facts(read_file(manifest_part(folder, shard)).schema)["files"]
    except (InputError, OSError, KeyError, ValueError):
        return []
    own = {(folder / path).path for path in named}
    subjects = dict.fromkeys(row.subject for row in plan.shard(shard))
    return [str(file) for subject in subjects for file in (folder / f"sub-{subject}").files() if file.path not in own]


def _facts(schema: pa.Schema) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((schema.metadata or {})[b"shard"])
    return facts


def _record(row: SampleRow, sample: Sample, hashes: Mapping[str, str]) -> dict[str, Any]:
    """A sample's row of the manifest."""
    provenance, image = sample.provenance(), sample.image.astype(np.float16)
    path = image_path(row) if image_path(row) in hashes else None
    fields = (*SamplerConfig.model_fields, "model_sha256", "trained_cell", "slice_mm", "pathology", "modality", "seed")
    return {
        **{name: provenance[name] for name in fields},
        "id": row.id,
        "shard": row.shard,
        "index": row.index,
        "source": sample.request.source,
        "path": path,
        "file_sha256": hashes[path] if path else hashlib.sha256(image.tobytes()).hexdigest(),
        "image": image,
    }
