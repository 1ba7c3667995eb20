"""The ablation of a run: what is each condition, guidance and each solver step of its model good for?"""

from __future__ import annotations

import functools
from collections.abc import Callable

from mrigen.condition_classifier.store import plan_classifier, train_once
from mrigen.config import Config
from mrigen.each import Each
from mrigen.images.index import index_real
from mrigen.records import read_file
from mrigen.report.ablation.page import ablation_page
from mrigen.report.ablation.words import ablation_verdict
from mrigen.report.notices import model_notices, notices
from mrigen.report.publish import Published, publish, result_folder
from mrigen.storage import Location
from mrigen.studies.ablation.looking import AblationNetworks, run_model, shard_file
from mrigen.studies.ablation.shards import plan_ablation
from mrigen.studies.ablation.summary import summarise


def ablate_run(
    run: Location,
    config: Config,
    each: Each,
    *,
    out: Location | None = None,
    command: str = "",
    tell: Callable[[str], None] = lambda note: None,
) -> Published:
    """Generate with the model of a run again, leaving something out each time, and measure what it costs.

    Writes `ablation.json` and `index.html` in `out` (RUN/ablation); `command` is what the page says it came from. What
    will be missing is given to `tell` before the work. What is done is kept in RUN/.cache: a killed ablation goes on.
    Raises InputError for a run without a model, or without held-out images of a cell that it was trained on.
    """
    out, cache = result_folder(out or run / "ablation", "ablation.json"), run / ".cache"
    model, index = run_model(run), index_real(run / "data", "test")
    classifier = plan_classifier(run / "data", config)
    plan = plan_ablation(index, model, config, classifier.key)
    if lone := plan.lone_cells:
        tell(f"there will be no KID, for a single held-out subject has all images of {', '.join(map(str, lone))}")

    trained = train_once(classifier, config, cache / "classifier", each)
    places = run, config, classifier, cache / "classifier", cache / "ablation", each.device
    load = functools.partial(AblationNetworks, plan, *places)
    for _ in each(AblationNetworks.look, plan.shards, "generate (shards)", load):
        pass
    tables = [read_file(shard_file(cache / "ablation", shard)) for shard in plan.shards]
    study = summarise(plan, tables, trained.counts, config)

    told = [*notices(index.provenance), *model_notices(run / "model", {}, index.held_out_subjects)]
    facts = {"Model": plan.model_sha256, "Sampler": str(study.own.sampler), **({"Command": command} if command else {})}
    page = ablation_page(f"Ablation of {run.name}", study, told, facts, plane=config.data.plane)
    verdict = ablation_verdict(study)
    figures = {"notices": told, "verdict": verdict, **study.as_json()}
    return publish(out, page, "ablation.json", figures, notices=told, words=verdict)
