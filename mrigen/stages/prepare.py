"""Preparing a run, whoever does the work: survey the scans, make their images, close `data/`, and show it on a page."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from mrigen.config import Config
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.prepare.confounds import refuse_mixed_heads
from mrigen.prepare.image_files import make_image_file
from mrigen.prepare.prepared_data import PreparedData, close_data, open_data, sum_reports, write_quarantine
from mrigen.prepare.scan_groups import read_groups, regroup_scans, scans_per_group
from mrigen.prepare.splits import read_splits, with_splits
from mrigen.prepare.survey import OnRejected, ScanFacts, ignore, survey_sources, with_t1w
from mrigen.preprocess import check_extras, check_strip_command
from mrigen.report.data.page import write_data_page
from mrigen.run import CONFIG, is_finished, store_config
from mrigen.sources.recognise import FoundScans
from mrigen.sources.scans import Rejected, Scan
from mrigen.storage import Location


def survey_run(
    run: Location | None, config: Config, found: FoundScans, each: Each, on_rejected: OnRejected = ignore
) -> tuple[dict[Scan, ScanFacts], list[Rejected]]:
    """What `prepare_run` would use, with the split of each scan, and leave out; nothing is written.

    Without a `run` no subject has a split that it keeps.
    """
    facts, rejected = survey_sources(found, config.data, each, on_rejected)
    return with_splits(facts, read_splits(run, config.data) if run else {}, config.data), rejected


def prepare_run(
    run: Location,
    config: Config,
    found: FoundScans,
    each: Each,
    *,
    on_rejected: OnRejected = ignore,
    allow_mixed_heads: bool = False,
) -> PreparedData:
    """Survey the scans that `mrigen.sources.recognise.find_all_scans` found, and make their images in `run / "data"`.

    Image files that stand are kept. `data.html` shows what came of it, `quarantine/` what was left out; `config.json`
    holds the settings, which the next stages take up.

    Raises InputError if the run lies in a source, holds files of something else, or was prepared with other settings,
    if a program or package that the settings need is missing, if later stages rest on other scans, or if heads are
    mixed and that is not allowed. The last may turn out at the end only: the quarantine is then written, and
    `_SUCCESS.json` is not.
    """
    data = config.data
    check_extras(data)
    check_strip_command(data)
    is_finished(run, config, "data")
    _keep_apart(run, found)
    store_config(run, config)
    surveyed, rejected = survey_sources(found, data, each, on_rejected)
    facts = with_t1w(with_splits(surveyed, read_splits(run, data), data), data)
    if data.head == "keep" and not allow_mixed_heads:
        refuse_mixed_heads(Counter(fact.traits(stripped=fact.stripped) for fact in facts.values()))
    kept = {scan: fact.identity for scan, fact in facts.items()}
    groups = regroup_scans(kept, read_groups(run), scans_per_group(data))
    open_data(run, groups, data)
    reports: dict[int, dict[str, Any]] = {}
    for place, report in each(functools.partial(make_image_file, run, data, found.places), groups, "prepare"):
        reports[place] = report
        for item in report["rejected"]:
            on_rejected(Rejected(**item))
    prepared = sum_reports(facts, groups, [reports[place] for place in range(len(groups))], rejected)
    write_quarantine(run, prepared.rejected)
    if not allow_mixed_heads:
        refuse_mixed_heads(prepared.traits)
    close_data(run, config, prepared, groups)
    write_data_page(run, prepared, found, config)
    return prepared


def _keep_apart(run: Location, found: FoundScans) -> None:
    for place in found.places:
        if place.filesystem == run.filesystem and f"{run.path.rstrip('/')}/".startswith(f"{place.path.rstrip('/')}/"):
            raise InputError(f"{run} lies in the source {place}: name a RUN outside of it")
    if not (run / CONFIG).is_file():
        sources = tuple(place.path for place in found.places)
        strangers = (file.path for file in run.files() if not file.path.startswith(sources))
        names = {path[len(run.path.rstrip("/")) + 1 :].partition("/")[0] for path in strangers}
        if foreign := min((name for name in names if not name.startswith(".")), default=None):
            raise InputError(f"{run} holds {foreign} and is no run: name a folder that is new or empty")
