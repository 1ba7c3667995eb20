"""`mrigen ablate`: generation without a condition, without guidance and with fewer steps, on Ray Data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from jobs.judge import train_judge
from jobs.options import Settings, command_line, config_options, out_option, result_folder, run_folder
from jobs.placement import Placement, connect, worker_options
from jobs.results import publish
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.checkpoint import Model
    from mrigen.condition_classifier.store import JudgePlan
    from mrigen.studies.ablation.shards import AblationPlan

Work = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@click.command("ablate")
@click.argument("run")
@out_option("ablation")
@config_options
@worker_options(default_workers=2)
def command(
    run: str, out: str | None, settings: Settings, address: str | None, num_workers: int, use_gpu: bool
) -> None:
    """Generate with RUN/model again, leaving something out each time, and measure what it costs; leaves RUN/ablation.

    Without the pathology, without the modality, without guidance, at other guidance scales, and with each solver at
    several numbers of steps. A few samples of every trained cell are held against the held-out real images of
    RUN/data by KID and by a classifier of pathology and modality. Writes ablation.json and index.html, which stands
    alone. A killed ablation is finished by the same command; what is done is kept in RUN/.cache.
    """
    from jobs.tasks import run_tasks
    from mrigen.condition_classifier.store import plan_judge
    from mrigen.images.index import index_real
    from mrigen.records import read_file
    from mrigen.report.ablation.page import ablation_page
    from mrigen.report.notices import model_notices, notices
    from mrigen.studies.ablation.shards import make_plan
    from mrigen.studies.ablation.summary import summarise

    folder = run_folder(run)
    config = settings.resolve(folder)
    place = result_folder(out, folder, "ablation")
    placement = Placement(num_workers, use_gpu)

    model = _load(folder)
    index = index_real(folder / "data", "test")
    judge = plan_judge(folder / "data", config)
    plan = make_plan(index, model, config, judge.key)
    if lone := plan.lone_cells:
        cells = ", ".join(map(str, lone))
        click.echo(f"note: there will be no KID, for a single held-out subject has all images of {cells}", err=True)

    connect(address, placement)
    cache = folder / ".cache" / "classifier", folder / ".cache" / "ablation"
    trained = train_judge(judge, config, cache[0], placement)
    make_work = functools.partial(_make_work, plan, folder, judge, config, *cache, placement.device)
    shards = [{"index": number} for number in range(len(plan.shards))]
    for _ in run_tasks(make_work, shards, placement, "generate (shards)"):
        pass
    tables = [read_file(_part(cache[1], shard.key)) for shard in plan.shards]
    study = summarise(plan, tables, trained.counts, config)

    said = [*notices(index.provenance), *model_notices(folder / "model", {}, config.data)]
    facts = {"Model": plan.model_sha256, "Command": command_line("ablate", run, settings)}
    page = ablation_page(f"Ablation of {folder.name}", study, said, facts, plane=config.data.plane)
    figures = {"notices": said, **study.as_json()}
    publish(place, page, "ablation.json", figures, notices=said, words=study.verdict())


def _load(run: Location) -> Model:
    """The model of a run. Raises InputError if there is none."""
    from mrigen.checkpoint import load_model

    if not (run / "model").is_folder():
        raise InputError(f"no model in {run}: run `mrigen train-ldm` first")
    with (run / "model").as_local() as local:
        return load_model(local)


def _part(cache: Location, key: str) -> Location:
    return cache / f"part-{key}.parquet"


def _make_work(
    plan: AblationPlan,
    run: Location,
    judge: JudgePlan,
    config: Config,
    classifiers: Location,
    parts: Location,
    device: str,
) -> Work:
    """The work of one worker: generate a shard, look at it, and publish what was seen, unless that is done."""
    import torch

    from mrigen.condition_classifier.store import find_or_train
    from mrigen.records import write_table
    from mrigen.studies.ablation.shards import ShardWorker, part_is_whole

    if device == "cpu":
        torch.set_num_threads(1)
    model = _load(run)
    if model.sha256 != plan.model_sha256:
        raise InputError(f"the model in {run} changed since the ablation was planned: run it again")
    worker = ShardWorker(plan, model, find_or_train(judge, config, classifiers, device), config, device)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        number = int(task["index"])
        shard = plan.shards[number]
        part = _part(parts, shard.key)
        if not part_is_whole(part, shard):
            write_table(worker(number), part)
        return {"index": number}

    return work
