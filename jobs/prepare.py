"""`mrigen prepare`: scans on disk to training images, split by subject, on Ray Data."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jobs.options import Settings, config_options, output_location, store_config
from jobs.placement import Placement, connect, cpu_worker_options
from mrigen.config import DataConfig
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.sources.scans import Scan

EX_DATAERR = 65


@click.command("prepare")
@click.argument("source", metavar="SRC")
@click.argument("run")
@config_options
@cpu_worker_options
def command(
    source: str,
    run: str,
    settings: Settings,
    address: str | None,
    num_workers: int,
) -> None:
    """Turn the scans of SRC into the training images of the folder RUN.

    SRC is a BIDS tree (pathology in participants.tsv), a data set that is known by its names, or a CSV file with the
    columns path,subject,pathology,modality. Scans that cannot be used are listed with the reason in
    RUN/quarantine/quarantine.parquet. A killed run is finished by the same command.
    """
    from jobs.prepare_summary import print_preparation
    from jobs.tasks import run_tasks
    from mrigen.sources.images import part_key
    from mrigen.sources.options import Source
    from mrigen.sources.preparation import begin_preparation, finish_preparation
    from mrigen.sources.recognise import find_scans
    from mrigen.sources.scans import drop_unusable, group_scans
    from mrigen.training.stage import is_finished, stage_digest

    folder, place = output_location(run), Location.parse(source)
    config = settings.resolve(folder)
    is_finished(folder, config, "data")  # raises where other settings made what is there
    found = find_scans(Source(place))
    connect(address)
    placement = Placement(num_workers)

    groups = group_scans(found.scans)
    tasks = [{"position": position, "scans": _pack(group)} for position, group in enumerate(groups)]
    hashed = {
        int(row["position"]): json.loads(row["digests"])
        for row in run_tasks(functools.partial(_make_hashing, place), tasks, placement, "prepare (hash)", shared=False)
    }
    digests = [digest for position in sorted(hashed) for digest in hashed[position]]
    kept, unusable = drop_unusable([scan for group in groups for scan in group], digests)

    parts = [{scan: kept[scan] for scan in group} for group in group_scans(kept)]
    begin_preparation(folder, [part_key(part, config.data) for part in parts])
    store_config(folder, config)
    make_work = functools.partial(_make_work, folder, config.data, place)
    tasks = [{"scans": _pack(list(part)), "digests": json.dumps(list(part.values()))} for part in parts]
    rows = run_tasks(make_work, tasks, placement, "prepare", shared=False)
    reports = [json.loads(row["report"]) for row in rows]
    preparation = finish_preparation(folder, reports, [*found.rejected, *unusable], stage_digest(config, "data"))
    print_preparation(preparation, found.kind, folder)
    if not preparation.num_images:
        click.echo(f"mrigen: error: no image came of {place}: see {folder / 'quarantine'} for the reasons", err=True)
        raise click.exceptions.Exit(EX_DATAERR)


def _pack(scans: Sequence[Scan]) -> str:
    return json.dumps([asdict(scan) for scan in scans])


def _unpack(text: str) -> list[Scan]:
    from mrigen.sources.scans import scan_from_json

    return [scan_from_json(tree) for tree in json.loads(text)]


def _make_hashing(source: Location) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: hash the files of some scans."""
    from mrigen.sources.images import hash_scans

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        digests = hash_scans(_unpack(task["scans"]), source)
        return {"position": task["position"], "digests": json.dumps(digests)}

    return work


def _make_work(run: Location, data: DataConfig, source: Location) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: make one part; its report."""
    from mrigen.sources.images import prepare_part

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        scans = dict(zip(_unpack(task["scans"]), json.loads(task["digests"]), strict=True))
        return {"report": json.dumps(prepare_part(run, scans, data, source))}

    return work
