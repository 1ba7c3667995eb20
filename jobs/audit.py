"""`mrigen audit`: does the model copy its training images? On Ray Data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from jobs.options import (
    Settings,
    command_line,
    config_options,
    out_option,
    result_folder,
    run_folder,
    samples_folder,
    samples_option,
    split_option,
)
from jobs.placement import Placement, connect, worker_options
from jobs.results import publish
from mrigen.config import Config
from mrigen.storage import Location

FEATURES, NEIGHBOURS = "audit: features", "audit: neighbours"
"""The two rounds of work, by their titles; the second needs all of the first."""


@click.command("audit")
@click.argument("run")
@samples_option
@out_option("audit")
@split_option("Held-out images that tell how like new people are to training.")
@config_options
@worker_options(default_workers=2)
def command(
    run: str,
    samples: str | None,
    out: str | None,
    split: str,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> int:
    """Look for copies of training images among the samples; leaves RUN/audit.

    Every sample is compared with the training images and with the held-out images of its cell. Writes audit.json and
    index.html, which stands alone and shows training images: keep it where they may be kept. Exit status 0: no copies
    detected; 1: copies detected, or nothing could be judged. A killed run is resumed by the same command.
    """
    from jobs.tasks import run_tasks
    from mrigen.audit.comparing import judge_results
    from mrigen.audit.pairing import make_audit_plan
    from mrigen.images.index import index_generated, index_real
    from mrigen.report.audit.page import audit_page, shown_pairs
    from mrigen.report.audit.words import audit_json, audit_text, verdict
    from mrigen.report.evaluation.metrics_json import comparison_facts
    from mrigen.report.notices import model_notices, notices

    folder = run_folder(run)
    config = settings.resolve(folder)
    report = result_folder(out, folder, "audit")
    made = samples_folder(samples, folder)
    placement = Placement(num_workers, use_gpu)

    real, generated = index_real(folder / "data", split), index_generated(made)
    plan = make_audit_plan(real, generated, config)
    said = notices(real.provenance, complete=(made / "_SUCCESS.json").is_file())
    said += model_notices(folder / "model", generated.provenance, config.data)

    connect(address, placement)
    parts = report / ".parts" / plan.digest[:16]
    shape = real.shape or ()
    for title, count in ((FEATURES, len(plan.shards)), (NEIGHBOURS, len(plan.comparisons))):
        make_work = functools.partial(_make_work, title, plan, shape, config, parts, placement.device)
        for _ in run_tasks(make_work, [{"index": index} for index in range(count)], placement, title):
            pass

    audit = judge_results(plan, parts, config.audit)
    facts = comparison_facts(config, real.provenance, generated.provenance)
    facts["Command"] = command_line("audit", run, settings, samples=samples, split=split)
    tree = audit_json(audit, plan, config, said, real.provenance, generated.provenance, split=split)
    page = audit_page(
        title=f"Audit of {folder.name}",
        audit=audit,
        plan=plan,
        pairs=shown_pairs(audit, plan, parts, shape),
        config=config,
        notices=said,
        facts=facts,
        split=split,
    )
    publish(report, page, "audit.json", tree, notices=said, words=[audit_text(audit), verdict(audit)])
    (report / ".parts").delete()
    return 1 if audit.failed else 0


def _make_work(
    title: str, plan: Any, shape: tuple[int, ...], config: Config, parts: Location, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: the blocks of a shard (FEATURES), or the neighbours of some queries (NEIGHBOURS)."""
    import torch

    from mrigen.audit.comparing import ComparisonWorker, ShardWorker, can_mirror
    from mrigen.features.efficientnet import FeatureExtractor

    if device == "cpu":
        torch.set_num_threads(1)  # else the last bits would depend on the number of workers
    mirror = can_mirror(config.data.plane)
    worker: Callable[[int], None]
    if title == FEATURES:
        extract = FeatureExtractor(config.evaluation.feature_size).to(torch.device(device))
        worker = ShardWorker(plan, extract, parts, mirror=mirror, device=device)
    else:
        worker = ComparisonWorker(plan, shape, config.audit, parts, mirror=mirror, device=device)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        worker(int(task["index"]))
        return {"index": task["index"]}

    return work
