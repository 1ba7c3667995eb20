"""`mrigen evaluate`: generated images against held-out real ones, on Ray Data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from ray import cloudpickle

from jobs.judge import train_judge
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
from mrigen.errors import InputError
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.evaluation.shards import Plan
    from mrigen.features.networks import Networks


@click.command("evaluate")
@click.argument("run")
@samples_option
@out_option("report")
@split_option("Real images to compare with.")
@click.option(
    "--extrapolation", is_flag=True, help="Hold cells that were kept out of training against lazy answers, too."
)
@config_options
@worker_options(default_workers=2)
def command(
    run: str,
    samples: str | None,
    out: str | None,
    split: str,
    extrapolation: bool,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> None:
    """Judge generated images against the held-out real ones of RUN/data; leaves RUN/report.

    Per cell, pathology and modality and for all cells: KID with a permutation test, FID, precision, recall, density
    and coverage, each beside its floor (real against real); MS-SSIM among generated and among real images; how often a
    classifier trained on real images names what was asked for; PSNR, SSIM and error of the autoencoder. Every figure
    has its N, and its interval where subjects suffice, or the reason why it cannot be had. Writes
    metrics.json and index.html, which stands alone. A killed run is resumed by the same command, and what it learned
    of the real images serves the next (RUN/.cache).
    """
    from jobs.tasks import run_tasks
    from mrigen.evaluation.described import gather, num_broken
    from mrigen.evaluation.figure_tasks import judging_tasks
    from mrigen.evaluation.shard_files import read_parts
    from mrigen.evaluation.shards import make_plan
    from mrigen.evaluation.summary import summarise
    from mrigen.features.names import MRI
    from mrigen.features.networks import find_networks
    from mrigen.images.index import Group, ImageIndex, index_generated, index_real
    from mrigen.report.evaluation.metrics_json import comparison_facts, figures_text, metrics_json
    from mrigen.report.evaluation.page import report_page
    from mrigen.report.notices import broken_notice, model_notices, notices

    folder = run_folder(run)
    config = settings.resolve(folder)
    report = result_folder(out, folder, "report")
    made = samples_folder(samples, folder)
    placement = Placement(num_workers, use_gpu)

    real = index_real(folder / "data", split)
    generated = index_generated(made) if samples or (made / "manifest").is_folder() else ImageIndex()
    said = notices(real.provenance, complete=not generated.files or (made / "_SUCCESS.json").is_file())
    said += model_notices(folder / "model", generated.provenance, config.data)
    no_samples = None if generated.files else "no generated images: run `mrigen generate` first"
    networks = find_networks(folder, config)
    if extrapolation and networks.judge is None:
        raise InputError(f"--extrapolation: {networks.absent[MRI]}")
    plan = make_plan(real, generated, config, networks.hashes)

    connect(address, placement)
    judge = train_judge(networks.judge, config, networks.classifiers, placement) if networks.judge else None
    places = folder / ".cache" / "evaluation", report / ".parts"
    make_work = functools.partial(_make_work, plan, networks, config, *places, placement.device)
    shards = [{"index": index} for index in range(len(plan.shards))]
    for _ in run_tasks(make_work, shards, placement, "look"):
        pass
    tasks = judging_tasks(plan)
    shape = real.shape or ()
    make_judge = functools.partial(_make_judge, plan, config, *places, shape, split, no_samples)
    # Figures are computed on the CPU, whatever the features were.
    on_cpu = Placement(num_workers, use_gpu=False)
    judged = run_tasks(make_judge, [{"index": index} for index in range(len(tasks))], on_cpu, "judge")
    judgements = {tasks[int(row["index"])]: cloudpickle.loads(row["judged"]) for row in judged}

    found = gather(read_parts(plan, *places), shape)
    said += broken_notice(*num_broken(found, Group.GENERATED))
    evaluation = summarise(
        found,
        judgements,
        plan,
        config,
        split=split,
        judge=judge,
        absent=networks.absent,
        no_samples=no_samples,
        extrapolation=extrapolation,
    )
    facts = comparison_facts(config, real.provenance, generated.provenance)
    facts["Command"] = command_line(
        "evaluate", run, settings, samples=samples, split=split, extrapolation=extrapolation
    )
    title = f"Evaluation of {folder.name}"
    page = report_page(title=title, evaluation=evaluation, config=config, notices=said, facts=facts)
    figures = metrics_json(evaluation, config, said, real.provenance, generated.provenance)
    publish(report, page, "metrics.json", figures, notices=said, words=[figures_text(evaluation)])
    (report / ".parts").delete()


def _make_work(
    plan: Plan, networks: Networks, config: Config, cache: Location, parts: Location, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: compute a shard and publish it, unless that is done."""
    import torch

    from mrigen.evaluation.describe import ShardWorker
    from mrigen.evaluation.shard_files import part_is_whole, part_of
    from mrigen.records import write_table

    if device == "cpu":
        torch.set_num_threads(1)  # else the last bits would depend on the number of workers
    worker = ShardWorker(plan, networks, config, device)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        index = int(task["index"])
        part = part_of(plan.shards[index], cache, parts)
        if not part_is_whole(part, plan.shards[index]):
            write_table(worker(index), part)
        return {"index": index}

    return work


def _make_judge(
    plan: Plan,
    config: Config,
    cache: Location,
    parts: Location,
    shape: tuple[int, ...],
    split: str,
    no_samples: str | None,
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker in the second round: figures from the parts of all shards."""
    from mrigen.evaluation.described import gather
    from mrigen.evaluation.figure_tasks import Judge, judging_tasks
    from mrigen.evaluation.shard_files import read_parts

    found = gather(read_parts(plan, cache, parts), shape)
    judge, tasks = Judge(found, plan, config, split=split, no_samples=no_samples), judging_tasks(plan)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        index = int(task["index"])
        return {"index": index, "judged": cloudpickle.dumps(judge(tasks[index]))}

    return work
