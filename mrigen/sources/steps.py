"""The steps of preparing a run, whoever does the work: find the scans, survey them, make their images."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mrigen.config import Config, DataConfig
from mrigen.sources.confounds import refuse_mixed_heads
from mrigen.sources.images import prepare_part
from mrigen.sources.options import Source
from mrigen.sources.parts import Part, group_scans, part_key, plan_parts, read_plan, scans_per_part
from mrigen.sources.preparation import (
    Preparation,
    begin_preparation,
    finish_preparation,
    sum_up,
    write_quarantine,
)
from mrigen.sources.recognise import find_scans
from mrigen.sources.scans import Rejected, Scan, drop_contradicted, drop_unusable
from mrigen.sources.survey import ScanFacts, choose_looks, survey_scan
from mrigen.storage import Location

SURVEY_GROUP = 32

OnRejected = Callable[[Rejected], None]
"""Told of every file that is left out, as soon as that is known. May raise, to stop."""


class Each(Protocol):
    """Does the same work on every item, in this process or in many; `title` is for a progress bar."""

    def __call__(self, work: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[tuple[int, Any]]:
        """Yield (place of the item, result) in any order."""
        ...


def one_by_one(work: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[tuple[int, Any]]:
    """An `Each` that does the work in this process, without a progress bar."""
    return ((place, work(item)) for place, item in enumerate(items))


def ignore(item: Rejected) -> None:
    """An `OnRejected` that goes on in silence: what is left out is in the quarantine."""


@dataclass(frozen=True)
class Found:
    """All scans of all sources."""

    kinds: tuple[tuple[str, ...], ...]
    # what was recognised in each source, in words
    places: tuple[Location, ...]
    # of each source; a scan's `origin` counts in them
    scans: tuple[Scan, ...]
    masks: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def find_all(sources: Sequence[Source]) -> Found:
    """List the scans of every source. Raises InputError as `find_scans` does."""
    tables = [find_scans(source) for source in sources]
    scans = [replace(scan, origin=origin) for origin, table in enumerate(tables) for scan in table.scans]
    agreed, contradicted = drop_contradicted(scans)
    return Found(
        kinds=tuple(table.kinds for table in tables),
        places=tuple(source.place for source in sources),
        scans=tuple(agreed),
        masks=tuple(mask for table in tables for mask in table.masks),
        rejected=(*(item for table in tables for item in table.rejected), *contradicted),
    )


def survey(
    found: Found, data: DataConfig, each: Each, on_rejected: OnRejected
) -> tuple[dict[Scan, ScanFacts], list[Rejected]]:
    """Read every scan's header, hash it, and look at the heads of a few.

    Returns the facts of the scans that can be used, and everything left out so far: what the sources rejected, files
    that cannot be read, and copies.
    """
    looks = choose_looks(found.scans)
    groups = [[(scan, scan in looks) for scan in group] for group in group_scans(found.scans, SURVEY_GROUP)]
    rejected = list(found.rejected)
    for item in found.rejected:
        on_rejected(item)
    facts: dict[Scan, ScanFacts] = {}
    work = functools.partial(_survey_group, found.places, data)
    for place, results in each(work, groups, "survey"):
        for (scan, _), result in zip(groups[place], results, strict=True):
            if isinstance(result, Rejected):
                rejected.append(result)
                on_rejected(result)
            else:
                facts[scan] = result
    ordered = [scan for group in groups for scan, _ in group if scan in facts]
    kept, copies = drop_unusable(ordered, [facts[scan].content for scan in ordered])
    for item in copies:
        on_rejected(item)
    return {scan: facts[scan] for scan in kept}, [*rejected, *copies]


def _survey_group(
    places: Sequence[Location], data: DataConfig, group: Sequence[tuple[Scan, bool]]
) -> list[ScanFacts | Rejected]:
    return [survey_scan(scan, places, data, look=look) for scan, look in group]


def prepare_run(
    run: Location,
    found: Found,
    config: Config,
    digest: str,
    each: Each,
    on_rejected: OnRejected,
    *,
    allow_mixed_heads: bool = False,
) -> Preparation:
    """Survey all scans and make their images in `run`; parts that stand are kept. `digest` is that of the settings.

    Raises:
        InputError: if later stages rest on other scans, or heads are mixed and that is not allowed. The second may
            turn out at the end only: the quarantine is then written, and `_SUCCESS.json` is not.
    """
    data = config.data
    facts, rejected = survey(found, data, each, on_rejected)
    if data.head == "keep" and not allow_mixed_heads:
        refuse_mixed_heads(Counter(fact.traits(stripped=fact.stripped) for fact in facts.values()))
    kept = {scan: fact.identity for scan, fact in facts.items()}
    parts = plan_parts(kept, read_plan(run), scans_per_part(data))
    begin_preparation(run, parts, data)
    work = functools.partial(_make_part, run, data, found.places)
    reports: dict[int, dict[str, Any]] = {}
    for place, report in each(work, parts, "prepare"):
        reports[place] = report
        for item in report["rejected"]:
            on_rejected(Rejected(**item))
    preparation = sum_up(facts, parts, [reports[place] for place in range(len(parts))], rejected)
    write_quarantine(run, preparation.rejected)
    if not allow_mixed_heads:
        refuse_mixed_heads(preparation.traits)
    finish_preparation(run, preparation, [part_key(part, data) for part in parts], digest)
    return preparation


def _make_part(run: Location, data: DataConfig, places: Sequence[Location], part: Part) -> dict[str, Any]:
    return prepare_part(run, part, data, places)
