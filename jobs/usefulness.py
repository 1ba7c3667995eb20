"""`mrigen usefulness`: classifiers trained on synthetic images, on real ones and on both, on Ray Data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

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
)
from jobs.placement import Placement, connect, worker_options
from jobs.results import publish
from mrigen.config import Config
from mrigen.labels import Cell
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.studies.usefulness.trainings import Selection, Training


@click.command("usefulness")
@click.argument("run")
@samples_option
@out_option("usefulness")
@config_options
@worker_options(default_workers=2)
def command(
    run: str,
    samples: str | None,
    out: str | None,
    settings: Settings,
    address: str | None,
    num_workers: int,
    use_gpu: bool,
) -> None:
    """Train classifiers of pathology on synthetic, on real and on both kinds of images; leaves RUN/usefulness.

    All are tested on the held-out real images of RUN/data, at several amounts of real data and with several seeds.
    Writes usefulness.json and index.html, which stands alone. Every training that is done is kept (RUN/.cache): a
    killed study is finished by the same command, and one of other samples trains on them alone.
    """
    from jobs.tasks import run_tasks
    from mrigen.images.index import index_generated, index_real
    from mrigen.report.notices import model_notices, notices
    from mrigen.report.usefulness.page import usefulness_page
    from mrigen.studies.usefulness.trainings import plan_trainings, select, summarise, training_key

    folder = run_folder(run)
    config = settings.resolve(folder)
    place = result_folder(out, folder, "usefulness")
    made = samples_folder(samples, folder)
    placement = Placement(num_workers, use_gpu)

    real, synthetic = index_real(folder / "data", "test"), index_generated(made)
    selection = select(real, synthetic, [Cell.parse(name) for name in config.held_out_cells])
    trainings = plan_trainings(config)
    parts = [
        folder / ".cache" / "usefulness" / f"{training_key(selection, training, config)}.json" for training in trainings
    ]

    connect(address, placement)
    make_work = functools.partial(_make_work, selection, trainings, parts, config, placement.device)
    for _ in run_tasks(make_work, [{"index": index} for index in range(len(trainings))], placement, "train"):
        pass
    results = dict(zip(trainings, (part.read_json() for part in parts), strict=True))
    study = summarise(selection, results, config)

    said = notices(real.provenance, complete=(made / "_SUCCESS.json").is_file())
    said += model_notices(folder / "model", synthetic.provenance, config.data)
    facts = {
        "Steps of each training": str(config.studies.usefulness_steps),
        "Model of the samples": ", ".join(synthetic.provenance["model_sha256"]),
        "Command": command_line("usefulness", run, settings, samples=samples),
    }
    page = usefulness_page(f"Usefulness of {folder.name}", study, said, facts)
    figures = {"notices": said, **study.as_json(), "model_sha256": list(synthetic.provenance["model_sha256"])}
    publish(place, page, "usefulness.json", figures, notices=said, words=[study.verdict()])


def _make_work(
    selection: Selection, trainings: list[Training], parts: list[Location], config: Config, device: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The work of one worker: train a classifier and publish what it says of the test images, unless that is done."""
    import torch

    from mrigen.studies.usefulness.trainings import part_is_whole, train_and_test

    if device == "cpu":
        torch.set_num_threads(1)  # else the last bits would depend on the number of workers

    def work(task: Mapping[str, Any]) -> Mapping[str, Any]:
        index = int(task["index"])
        if not part_is_whole(parts[index], selection):
            parts[index].write_json(train_and_test(selection, trainings[index], config, device))
        return {"index": index}

    return work
