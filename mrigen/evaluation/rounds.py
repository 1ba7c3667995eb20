"""An evaluation from indexed images to all figures, in three rounds: train the condition classifier, describe every
shard, compute the costly figures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from mrigen.condition_classifier.classifier import Trained
from mrigen.condition_classifier.store import train_once
from mrigen.config import Config
from mrigen.each import Each
from mrigen.evaluation.described_cells import sort_by_cell
from mrigen.evaluation.figure_tasks import ComparedImages, do_task, figure_tasks
from mrigen.evaluation.planning import EvaluationPlan
from mrigen.evaluation.shard_describer import ShardDescriber, describe_once
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.evaluation.summary import Evaluation, summarise
from mrigen.features.networks import Networks
from mrigen.process.threads import one_thread
from mrigen.records import read_file


def describe_images(
    plan: EvaluationPlan,
    networks: Networks,
    config: Config,
    each: Each,
    files: ShardFiles,
    *,
    shape: tuple[int, ...],
    split: str,
    no_samples: str | None = None,
) -> tuple[Trained | None, Callable[[], ComparedImages]]:
    """The condition classifier, and what reads all that was seen of the images of `plan`, each of which has `shape`.

    Shards whose files stand are not described anew. `split` is that of the held-out images, `no_samples` the reason
    where nothing was generated.
    """
    classifier = None
    if networks.classifier is not None:
        classifier = train_once(networks.classifier, config, networks.classifiers, each)
    describer = functools.partial(ShardDescriber, plan, networks, config, each.device)
    for _ in each(functools.partial(describe_once, files), plan.shards, "describe the images", describer):
        pass

    def images() -> ComparedImages:
        tables = (read_file(files.place_of(shard)) for shard in plan.shards)
        return ComparedImages(sort_by_cell(tables, shape), plan, config, split, no_samples)

    return classifier, images


def compute_figures(
    images: Callable[[], ComparedImages],
    plan: EvaluationPlan,
    each: Each,
    *,
    classifier: Trained | None = None,
    absent: Mapping[str, str] | None = None,
    extrapolation: bool = False,
) -> Evaluation:
    """All figures of images that are described; `absent` are the reasons for networks that are not there, by name."""
    tasks = figure_tasks(plan)
    results = {tasks[place]: result for place, result in each(do_task, tasks, "compute the figures", images)}
    with one_thread():
        return summarise(images(), results, classifier=classifier, absent=absent, extrapolation=extrapolation)
