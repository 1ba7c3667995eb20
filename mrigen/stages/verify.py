"""A data set against its plan: every row, every file, every hash; and what is missing or broken made anew."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow.fs as pafs

from mrigen.cohort.closing import is_closed
from mrigen.cohort.plan import CohortPlan, read_plan
from mrigen.cohort.shard import differences, manifest_part, strays
from mrigen.each import Each
from mrigen.model_folder.facts import ModelFacts
from mrigen.process.lease import leased
from mrigen.report.samples.page import SHOWN
from mrigen.run import SUCCESS
from mrigen.stages.generate import finish_cohort
from mrigen.storage import Location

TOLD = 20
_STRAY = "{} is not of the plan: take it away"


@dataclass
class Verification:
    """What was found: the first differences in words, and how many there are."""

    num_samples: int
    words: list[str] = field(default_factory=list)
    num_differences: int = 0

    def add(self, line: str) -> None:
        """Note a difference."""
        self.num_differences += 1
        if len(self.words) < TOLD:
            self.words.append(line)


def verify_run(out: Location, each: Each) -> Verification:
    """Hold the data set in `out` against its plan, its manifest and their hashes.

    Raises InputError for a folder without a plan.
    """
    plan = read_plan(out)
    found = Verification(plan.num_samples)
    for _, lines in each.on_cpu()(functools.partial(_of_shard, plan, out), range(plan.num_shards), "verify (shards)"):
        for line in lines:
            found.add(line)
    for line in (*_not_of_the_plan(plan, out), *_at_the_top(plan, out)):
        found.add(line)
    return found


def repair_run(out: Location, model: Location | None, each: Each) -> None:
    """Make anew, by the model that made it, what is missing or broken. What is not of the plan stays.

    Raises InputError for another model.
    """
    plan, facts = read_plan(out), ModelFacts.load(model)
    with leased(out):
        finish_cohort(plan, facts, model, out, each)


def _of_shard(plan: CohortPlan, out: Location, shard: int) -> list[str]:
    return [*differences(plan, shard, out), *map(_STRAY.format, strays(plan, shard, out))]


def _at_the_top(plan: CohortPlan, out: Location) -> Iterator[str]:
    """What is not as the closing left it."""
    if not is_closed(plan, out):
        yield f"{out / SUCCESS} is missing or damaged: the data set is not finished"
        return
    yield from (f"{out / name} is missing" for name in SHOWN if not (out / name).is_file())
    for name, digest in (out / SUCCESS).read_json()["files"].items():
        if not (out / name).is_file():
            yield f"{out / name} is missing"
        elif (out / name).sha256() != digest:
            yield f"{out / name} differs from its hash in {SUCCESS}"


def _not_of_the_plan(plan: CohortPlan, out: Location) -> Iterator[str]:
    """Samples and shards that readers would take for some of the data set."""
    parts = {manifest_part(out, shard).name.removesuffix(".parquet") for shard in range(plan.num_shards)}
    for folder in ("manifest", "webdataset", "huggingface", "rejected"):
        for file in (out / folder).files():
            if file.name.partition(".")[0] not in parts:
                yield _STRAY.format(file)
    for file in (out / "previews").files():
        if plan.kind_of(file.name.removesuffix(".png")) is None:
            yield _STRAY.format(file)
    for info in out.filesystem.get_file_info(pafs.FileSelector(out.path)):
        if info.base_name.startswith("sub-") and plan.kind_of(info.base_name.removeprefix("sub-")) is None:
            yield _STRAY.format(info.path)
