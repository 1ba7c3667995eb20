"""What is still to be made of a data set, and the room and time that it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mrigen.cohort.plan import CohortPlan, SampleRow
from mrigen.cohort.shard import shard_files
from mrigen.errors import InputError
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.pipeline import Pipeline

_BLOCK = 4096


@dataclass(frozen=True)
class Estimate:
    """What is still to be made of a data set, and what a sample costs."""

    num_samples: int
    formats: tuple[str, ...]
    """Of the plan."""
    bytes: float
    """On a disk with blocks of 4 KiB, of a sample."""
    files: float
    """Files and folders of a sample."""
    free_bytes: int | None
    """Of the disk; None on an object store."""
    free_files: int | None
    """Files and folders that the disk has room for; None on an object store, or where the disk does not count them."""
    seconds: float | None = None
    """Of one worker, for a sample; None before one was timed."""

    @property
    def fits(self) -> bool:
        """Whether the disk has room for it."""
        needed = ((self.bytes, self.free_bytes), (self.files, self.free_files))
        return all(free is None or each * self.num_samples <= free for each, free in needed)

    def __str__(self) -> str:
        count = self.num_samples
        needed = f"{_size(count * self.bytes)} in {count * self.files:.0f} files and folders"
        if self.free_bytes is None:
            return needed
        return f"{needed}; free are {_size(self.free_bytes)}{f' in {self.free_files}' if self.free_files else ''}"

    def require_room(self, out: Location) -> None:
        """Raises InputError unless the disk of `out` has room for it."""
        if not self.fits:
            told = f"{self.num_samples} samples do not fit the disk of {out}: they take about {self}"
            remedy = "make room, ask for fewer or for a --format that takes less, or use another --out"
            raise InputError(f"{told}; {remedy}")


def estimated(pipeline: Pipeline, plan: CohortPlan, missing: Sequence[int], out: Location) -> Estimate:
    """What the `missing` shards of a plan take in `out`, by a batch that is drawn in this process in one step of the
    solver, and thrown away: whatever the steps, images take as much room, within a few per cent."""
    quick = replace(plan, sampler=plan.sampler.model_copy(update={"num_steps": 1}), redraws=0)
    rows = typical_rows(plan, missing)
    size, files = _room(shard_files(pipeline, quick, rows), len(rows) / plan.num_rows((missing or [0])[0]))
    local, free_bytes, free_files = out.local, None, None
    if local is not None:
        disk = os.statvfs(next(path for path in (local, *local.parents) if path.exists()))
        free_bytes, free_files = disk.f_bavail * disk.f_frsize, disk.f_favail or None
    count = sum(map(plan.num_rows, missing))
    return Estimate(count, plan.formats, size / len(rows), files / len(rows), free_bytes, free_files)


def typical_rows(plan: CohortPlan, missing: Sequence[int]) -> list[SampleRow]:
    """A batch of samples from all over the missing shards; where there are none, from the first. Persons stay whole."""
    shards, together = missing or [0], len(plan.modalities) or 1
    num_persons = max(1, plan.sampler.compute_batch // together)
    chosen = {shards[len(shards) * place // num_persons] for place in range(num_persons)}
    of_each = -(-num_persons // len(chosen)) * together
    return [row for shard in sorted(chosen) for row in plan.shard(shard)[:of_each]]


def _room(files: Iterable[tuple[str, bytes]], shards: float) -> tuple[int, float]:
    """Bytes on a disk, and files and folders, of samples that fill so many shards."""
    sizes = {path: len(content) for path, content in files}
    packed = {path for path in sizes if PurePosixPath(path).name.startswith("shard-")}
    folders = {parent for path in sizes.keys() - packed for parent in PurePosixPath(path).parents if parent.name}
    blocks = len(folders) + sum(-(-size // _BLOCK) for size in sizes.values())
    return blocks * _BLOCK, len(sizes) - len(packed) + len(packed) * shards + len(folders)


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e7 else f"{num_bytes / 1e3:.0f} kB"
