"""The steps of preparing a run, whoever does the work: find the scans, survey them, make their images."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mrigen.config import Config, DataConfig
from mrigen.each import Each
from mrigen.prepare.prepared_data import PreparedData, open_data, close_data, sum_reports, write_quarantine
from mrigen.prepare.confounds import refuse_mixed_heads
from mrigen.prepare.image_files import make_image_file
from mrigen.prepare.scan_groups import Part, group_key, regroup_scans, read_groups, scans_per_group
from mrigen.prepare.survey import OnRejected, survey
from mrigen.sources.recognise import FoundScans
from mrigen.sources.scans import Rejected
from mrigen.storage import Location


def prepare_run(
    run: Location,
    found: FoundScans,
    config: Config,
    digest: str,
    each: Each,
    on_rejected: OnRejected,
    *,
    allow_mixed_heads: bool = False,
) -> PreparedData:
    """Survey all scans and make their images in `run`; parts that stand are kept. `digest` is that of the settings.

    Raises InputError if later stages rest on other scans, or heads are mixed and that is not allowed. The second may
    turn out at the end only: the quarantine is then written, and `_SUCCESS.json` is not.
    """
    data = config.data
    facts, rejected = survey(found, data, each, on_rejected)
    if data.head == "keep" and not allow_mixed_heads:
        refuse_mixed_heads(Counter(fact.traits(stripped=fact.stripped) for fact in facts.values()))
    kept = {scan: fact.identity for scan, fact in facts.items()}
    parts = regroup_scans(kept, read_groups(run), scans_per_group(data))
    open_data(run, parts, data)
    work = functools.partial(_make_part, run, data, found.places)
    reports: dict[int, dict[str, Any]] = {}
    for place, report in each(work, parts, "prepare"):
        reports[place] = report
        for item in report["rejected"]:
            on_rejected(Rejected(**item))
    preparation = sum_reports(facts, parts, [reports[place] for place in range(len(parts))], rejected)
    write_quarantine(run, preparation.rejected)
    if not allow_mixed_heads:
        refuse_mixed_heads(preparation.traits)
    close_data(run, preparation, [group_key(part, data) for part in parts], digest)
    return preparation


def _make_part(run: Location, data: DataConfig, places: Sequence[Location], part: Part) -> dict[str, Any]:
    return make_image_file(run, part, data, places)
