"""`mrigen evaluate`: generated images against held-out real ones, on Ray Data."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import click

from jobs.options import Settings, config_options, input_folder, output_location
from jobs.placement import Placement, connect, require_gpus, worker_options
from mrigen.config import Config
from mrigen.storage import Location


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

    Per cell and for all cells: PSNR and SSIM of the autoencoder, FID with its floor (real against real), and
    MS-SSIM among generated and among real images, each with its N, or the reason why there is none. Writes
    metrics.json and index.html, which stands alone. A killed run is resumed by the same command.
    """
    from jobs.tasks import run_tasks
    from mrigen.metrics.plan import ImageIndex, index_generated, index_real, make_plan
    from mrigen.metrics.summary import gather, summarise
    from mrigen.metrics.work import find_autoencoder, folder_sha256, read_parts
    from mrigen.report.pages import report_page
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
    plan = make_plan(real, generated, config, autoencoder=folder_sha256(autoencoder) if autoencoder else "none")

    connect(address)
    require_gpus(placement)
    parts = report / ".parts" / plan.digest[:16]
    make_work = functools.partial(_make_work, plan, config, autoencoder, parts, placement.device)
    tasks = [{"index": index} for index in range(len(plan.shards))]
    for _ in run_tasks(make_work, tasks, placement, "evaluate"):
        pass

    evaluation = summarise(
        gather(read_parts(parts, plan), real.shape or ()),
        config,
        split=split,
        untrained=plan.untrained,
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
    plan: Any, config: Config, autoencoder: Location | None, parts: Location, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: compute a shard and publish it, unless that is done."""
    import torch

    from mrigen.metrics.work import ShardWorker, part_is_whole, part_name
    from mrigen.records import write_table

    if device == "cpu":
        torch.set_num_threads(1)  # else the last bits would depend on the number of workers
    worker = ShardWorker(plan, config.evaluation.feature_size, autoencoder, device)

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        index = int(task["index"])
        part = parts / part_name(index)
        if not part_is_whole(part, plan, index):
            write_table(worker(index), part)
        return {"index": index}

    return work
