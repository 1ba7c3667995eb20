"""What a data set will hold, before any image is made: which samples, cut into shards; nothing in it grows with them.

A plan is a list of steps, one for each time that samples were asked for. A step's rows follow those of the step before,
in shards of their own, so that a data set grows without a change to what is there.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mrigen.cohort.order import Kind, Quotas
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality
from mrigen.run import SUCCESS
from mrigen.samples import SampleRequest, sample_seed
from mrigen.storage import Location

PLAN = "plan.json"


@dataclass(frozen=True)
class SampleRow:
    """One sample of a plan: the `index`-th of its kind."""

    id: str
    shard: int
    kind: Kind
    index: int
    subject: str
    """The synthetic person that it is of: its id, unless persons are seen in several modalities."""


@dataclass(frozen=True)
class Step:
    """Samples that were asked for at one time: of each kind those from a first index to before a last."""

    shard_size: int
    ranges: tuple[tuple[Kind, int, int], ...]
    together: int = 1
    """So many ranges that follow each other, those of one pathology, have the same indices and go side by side."""

    @functools.cached_property
    def ends(self) -> list[int]:
        """Where in the step each range ends, or each that goes side by side with others."""
        lengths = (self.together * (last - first) for _, first, last in self.ranges[:: self.together])
        return list(itertools.accumulate(lengths))

    @property
    def num_samples(self) -> int:
        """Samples in all."""
        return self.ends[-1]

    @property
    def num_shards(self) -> int:
        """Shards in all; the last may be short."""
        return -(-self.num_samples // self.shard_size)

    def shard(self, number: int) -> Iterator[tuple[Kind, int]]:
        """Kind and index of every sample of one of its shards: kind by kind, or person by person."""
        for place in range(number * self.shard_size, min((number + 1) * self.shard_size, self.num_samples)):
            at = bisect.bisect_right(self.ends, place)
            left = self.ends[at] - place
            kind, _, last = self.ranges[at * self.together + -left % self.together]
            yield kind, last - -(-left // self.together)


@dataclass(frozen=True)
class CohortPlan:
    """Everything that decides a data set's images; the same plan gives the same bytes."""

    model_sha256: str
    seed: int
    sampler: SamplerConfig
    slice_mm: float | None = None
    formats: tuple[str, ...] = ("bids",)
    redraws: int = 3
    modalities: tuple[Modality, ...] = ()
    """Those that each synthetic person is seen in: images of one share their seed, and so noise and slice. Without,
    every sample is a person of its own."""
    gates: Mapping[str, str] = field(default_factory=dict)
    """What samples are held to besides being scans, by name, with a hash of all that decides it."""
    source: str | None = None
    """Which all samples are of; None is the average over those that the model tells apart."""
    steps: tuple[Step, ...] = ()

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> CohortPlan:
        """The plan of what `to_json` gave."""
        modalities = tuple(map(Modality, tree.get("modalities", ())))
        together = len(modalities) or 1
        for step in tree["steps"]:
            if type(step["shard_size"]) is not int or step["shard_size"] < 1:
                raise ValueError(f"shard_size {step['shard_size']!r} is no number of samples")
        steps = tuple(
            Step(step["shard_size"], tuple((Kind.parse(name), *ends) for name, *ends in step["samples"]), together)
            for step in tree["steps"]
        )
        settings = {name: tree[name] for name in ("model_sha256", "seed", "slice_mm", "redraws")}
        sampler, formats = SamplerConfig.model_validate(tree["sampler"]), tuple(tree["formats"])
        settings |= {"gates": dict(tree.get("gates", {})), "source": tree.get("source")}
        return cls(**settings, sampler=sampler, formats=formats, modalities=modalities, steps=steps)

    def settings(self) -> dict[str, Any]:
        """What all its samples share, as JSON-able values."""
        shown = {"modalities": list(map(str, self.modalities))} if self.modalities else {}
        return {
            "model_sha256": self.model_sha256,
            "seed": self.seed,
            "slice_mm": self.slice_mm,
            "formats": list(self.formats),
            "redraws": self.redraws,
            "sampler": self.sampler.model_dump(mode="json"),
            **shown,
            **({"gates": dict(self.gates)} if self.gates else {}),
            **({"source": self.source} if self.source is not None else {}),
        }

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-able values."""
        steps = [
            {"shard_size": step.shard_size, "samples": [[str(kind), first, last] for kind, first, last in step.ranges]}
            for step in self.steps
        ]
        return self.settings() | {"steps": steps}

    def digest(self) -> str:
        """Hash that names the plan."""
        return _digest(self.to_json())

    @property
    def quotas(self) -> Quotas:
        """How many samples it has of each kind."""
        return {kind: last for step in self.steps for kind, _, last in step.ranges}

    @property
    def counts(self) -> Counter[Cell]:
        """How many samples it has of each cell."""
        counts: Counter[Cell] = Counter()
        for kind, count in self.quotas.items():
            counts[kind.cell] += count
        return counts

    @property
    def num_samples(self) -> int:
        """Samples in all."""
        return sum(self.quotas.values())

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return self._ends[-1] if self.steps else 0

    @functools.cached_property
    def _ends(self) -> list[int]:
        return list(itertools.accumulate(step.num_shards for step in self.steps))

    def grown(self, quotas: Quotas, shard_size: int) -> CohortPlan:
        """The plan with a step more for what `quotas` ask beyond it; itself if that is nothing.

        Raises InputError if they ask for less of a kind than it has.
        """
        standing = self.quotas
        for kind, count in standing.items():
            if quotas.get(kind, 0) < count:
                raise InputError(
                    f"it has {count} samples of {kind}, and {quotas.get(kind, 0)} are asked for: a data set only grows"
                )
        more = tuple((kind, standing.get(kind, 0), n) for kind, n in quotas.items() if n > standing.get(kind, 0))
        together = len(self.modalities) or 1
        step = Step(max(1, shard_size // together) * together, more, together)
        return replace(self, steps=(*self.steps, step)) if more else self

    def kind_of(self, sample: str) -> Kind | None:
        """The kind of the sample with that id, or of one of that person; None if it has no such."""
        match = re.fullmatch(r"(.*\D)(\d{7,})", sample)
        kind, count = self._labels.get(match[1], (None, 0)) if match else (None, 0)
        return kind if match and int(match[2]) < count else None

    @functools.cached_property
    def _labels(self) -> dict[str, tuple[Kind, int]]:
        quotas = self.quotas.items()
        persons = {str(kind.cell.pathology): (kind, count) for kind, count in quotas if self.modalities}
        return {kind.label: (kind, count) for kind, count in quotas} | persons

    def request(self, row: SampleRow, redraw: int = 0) -> SampleRequest:
        """What the pipeline is asked for a row of it; one that was rejected `redraw` times, by another seed."""
        height = self.slice_mm if row.kind.slice_mm is None else row.kind.slice_mm
        whose = row.kind.cell.pathology if self.modalities else row.kind
        seed = sample_seed(self.seed, whose, row.index, redraw)
        return SampleRequest(row.kind.cell, seed, self.sampler, height, self.source)

    def num_rows(self, number: int) -> int:
        """How many samples a shard has."""
        at = bisect.bisect_right(self._ends, number)
        step, left = self.steps[at], self._ends[at] - number - 1
        return step.shard_size if left else step.num_samples - (step.num_shards - 1) * step.shard_size

    def first_shards(self, count: int) -> list[int]:
        """The shards that hold the first `count` samples of every cell."""
        found: set[int] = set()
        have: Counter[Cell] = Counter()
        for step, end in zip(self.steps, self._ends, strict=True):
            start = 0
            for (kind, first, last), stop in zip(step.ranges[:: step.together], step.ends, strict=True):
                if taken := min(last - first, count - have[kind.cell]):
                    have[kind.cell] += taken
                    last_taken = start + taken * step.together - 1
                    shards = range(start // step.shard_size, last_taken // step.shard_size + 1)
                    found.update(end - step.num_shards + shard for shard in shards)
                start = stop
        return sorted(found)

    def shard(self, number: int) -> list[SampleRow]:
        """The samples of one shard."""
        at = bisect.bisect_right(self._ends, number)
        step = self.steps[at]
        return [
            SampleRow(f"{kind.label}{index:07d}", number, kind, index, f"{self._whose(kind)}{index:07d}")
            for kind, index in step.shard(number - (self._ends[at] - step.num_shards))
        ]

    def _whose(self, kind: Kind) -> str:
        return kind.cell.pathology if self.modalities else kind.label


def read_plan(folder: Location) -> CohortPlan:
    """The plan of a data set's folder. Raises InputError if it holds none, or not the one that it was finished by."""
    file = folder / PLAN
    if not file.is_file():
        raise InputError(f"{folder} holds no {PLAN}: name a folder that `mrigen generate` wrote")
    tree = file.read_json()
    try:
        plan = CohortPlan.from_json(tree)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({' '.join(repr(error).split())[:200]})") from None
    if closed_by(folder) not in (None, _digest(tree)):  # as it was written: an earlier version knew fewer settings
        remedy = "put back what was changed in it, or generate anew into another folder"
        raise InputError(f"{file} is not the plan that this data set was finished by: {remedy}")
    return plan


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def closed_by(folder: Location) -> str | None:
    """The digest of the plan by which the data set in `folder` was finished; None if it was not, or does not tell."""
    mark = folder / SUCCESS
    try:
        return str(mark.read_json()["digest"]) if mark.is_file() else None
    except (InputError, KeyError, TypeError):  # damaged
        return None


def planned(empty: CohortPlan, quotas: Quotas, shard_size: int, folder: Location) -> CohortPlan:
    """The plan of `quotas` samples with the settings of `empty`, grown out of the one that stands in `folder` if any.

    Raises InputError if the folder holds a data set of other settings or with samples that are not asked for, or
    files of anything else.
    """
    if not (folder / PLAN).is_file():
        if folder.files():
            raise InputError(f"{folder} is not empty and holds no {PLAN}: use a new folder for --out")
        return empty.grown(quotas, shard_size)
    standing = read_plan(folder)
    then, now = standing.settings(), empty.settings()
    names = [name for name in now | then if then.get(name) != now.get(name)]
    if differing := [f"{name} was {then.get(name, 'none')}, is {now.get(name, 'none')}" for name in names]:
        told = "; ".join(differing)
        raise InputError(f"{folder} holds a data set of another plan ({told}): use another folder for --out")
    try:
        return standing.grown(quotas, shard_size)
    except InputError as error:
        raise InputError(f"{folder} holds a data set of another plan: {error}; use another folder for --out") from None


def write_plan(plan: CohortPlan, folder: Location) -> None:
    """Publish a plan in its data set's folder, which then is unfinished; the same that stands there stays."""
    target = folder / PLAN
    if not target.is_file() or target.read_json() != plan.to_json():
        (folder / SUCCESS).delete()
        target.write_json(plan.to_json())
