"""`mrigen evaluate`: generated images against held-out real ones, on Ray Data."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from ray import cloudpickle

from jobs.options import Settings, config_options, input_folder, output_location
from jobs.placement import Placement, connect, require_gpus, worker_options
from mrigen.config import Config
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.metrics.plan import Plan


@click.command("evaluate")
@click.argument("run")
@click.option("--samples", metavar="DIR", help="A folder that `mrigen generate` wrote.  [default: RUN/samples]")
@click.option("--out", metavar="DIR", help="Where to write the report.  [default: RUN/report]")
@click.option(
    "--split",
    type=click.Choice(["test", "val"]),
    default="test",
    show_default=True,
    help="Real images to compare with.",
)
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
) -> None:
    """Judge generated images against the held-out real ones of RUN/data; leaves RUN/report.

    Per cell, pathology and modality and for all cells: KID with a permutation test, FID, precision, recall, density
    and coverage, each beside its floor (real against real); MS-SSIM among generated and among real images; PSNR, SSIM
    and error of the autoencoder. Every figure has its N and its interval, or the reason why there is none. Writes
    metrics.json and index.html, which stands alone. A killed run is resumed by the same command, and what it
    learned of the real images serves the next (RUN/.cache).
    """
    from jobs.tasks import run_tasks
    from mrigen.metrics.gathering import gather
    from mrigen.metrics.judging import judging_tasks
    from mrigen.metrics.parts import read_parts
    from mrigen.metrics.plan import ImageIndex, index_generated, index_real, make_plan
    from mrigen.metrics.summary import summarise
    from mrigen.metrics.work import find_autoencoder, folder_sha256
    from mrigen.report.evaluation_page import report_page
    from mrigen.report.text import comparison_facts, figures_text, metrics_json, notices

    folder = input_folder(run, "RUN")
    config = settings.resolve(folder)
    report = output_location(out) if out else folder / "report"
    made = input_folder(samples, "--samples") if samples else folder / "samples"
    placement = Placement(num_workers, use_gpu)

    real = index_real(folder / "data", split)
    generated = index_generated(made) if samples or (made / "manifest").is_folder() else ImageIndex()
    said = notices(real.provenance, complete=not generated.files or (made / "_SUCCESS.json").is_file())
    no_samples = None if generated.files else "no generated images: run `mrigen generate` first"
    autoencoder = find_autoencoder(folder)
    no_autoencoder = None if autoencoder else "no trained autoencoder: run `mrigen train-vae` first"
    plan = make_plan(real, generated, config, autoencoder=folder_sha256(autoencoder) if autoencoder else None)

    connect(address)
    require_gpus(placement)
    places = folder / ".cache" / "evaluation", report / ".parts"
    make_work = functools.partial(_make_work, plan, config, autoencoder, *places, placement.device)
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

    evaluation = summarise(
        gather(read_parts(plan, *places), shape),
        judgements,
        plan,
        config,
        split=split,
        no_autoencoder=no_autoencoder,
        no_samples=no_samples,
    )
    facts = comparison_facts(config, real.provenance, generated.provenance)
    options = ["--samples", samples] if samples else []
    facts["Command"] = shlex.join(["mrigen", "evaluate", run, *options, "--split", split])
    title = f"Evaluation of {folder.name}"
    page = report_page(title=title, evaluation=evaluation, config=config, notices=said, facts=facts)
    (report / "index.html").write_bytes(page.encode())
    figures = metrics_json(evaluation, config, said, real.provenance, generated.provenance)
    (report / "metrics.json").write_json(figures)
    (report / ".parts").delete()
    for notice in said:
        click.echo(f"note: {notice}", err=True)
    click.echo(figures_text(evaluation))
    click.echo(f"report: {report / 'index.html'}")


def _make_work(
    plan: Plan, config: Config, autoencoder: Location | None, cache: Location, parts: Location, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: compute a shard and publish it, unless that is done."""
    import torch

    from mrigen.metrics.parts import part_is_whole, part_of
    from mrigen.metrics.work import ShardWorker
    from mrigen.records import write_table

    if device == "cpu":
        torch.set_num_threads(1)  # else the last bits would depend on the number of workers
    worker = ShardWorker(plan, config.evaluation, autoencoder, device)

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
    from mrigen.metrics.gathering import gather
    from mrigen.metrics.judging import Judge, judging_tasks
    from mrigen.metrics.parts import read_parts

    found = gather(read_parts(plan, cache, parts), shape)
    judge, tasks = Judge(found, plan, config, split=split, no_samples=no_samples), judging_tasks(plan)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        index = int(task["index"])
        return {"index": index, "judged": cloudpickle.dumps(judge(tasks[index]))}

    return work
