"""The study of usefulness: do the samples of a run help to train a classifier of real images?"""

from __future__ import annotations

import functools

from mrigen.config import Config
from mrigen.each import Each
from mrigen.images.index import index_generated, index_real
from mrigen.labels import Cell
from mrigen.report.notices import model_notices, notices
from mrigen.report.publish import Published, publish, result_folder
from mrigen.report.usefulness.page import usefulness_page
from mrigen.report.usefulness.words import usefulness_verdict
from mrigen.run import SUCCESS
from mrigen.storage import Location
from mrigen.studies.usefulness.images import plan_trainings, select_images
from mrigen.studies.usefulness.summary import summarise
from mrigen.studies.usefulness.training import read_or_train


def usefulness_run(
    run: Location,
    config: Config,
    each: Each,
    *,
    samples: Location | None = None,
    out: Location | None = None,
    command: str = "",
) -> Published:
    """Train classifiers of pathology on synthetic, on real and on both kinds of images, and test them on held-out ones.

    Writes `usefulness.json` and `index.html` in `out` (RUN/usefulness). `samples` (RUN/samples) is a folder of `mrigen
    generate`, `command` what the page says it came from. Every training is kept in RUN/.cache: a killed study goes on,
    and one of other samples trains on them alone. Raises InputError where fewer than two pathologies can be compared.
    """
    samples, out = samples or run / "samples", result_folder(out or run / "usefulness", "usefulness.json")
    real, synthetic = index_real(run / "data", "test"), index_generated(samples)
    images = select_images(real, synthetic, [Cell.parse(name) for name in config.held_out_cells])
    trainings = plan_trainings(config)
    train = functools.partial(read_or_train, images, config, run / ".cache" / "usefulness", each.device)
    answered = {trainings[place]: answers for place, answers in each(train, trainings, "train")}
    study = summarise(images, answered, config)

    told = notices(real.provenance, complete=(samples / SUCCESS).is_file())
    told += model_notices(run / "model", synthetic.provenance, real.held_out_subjects)
    models = list(synthetic.provenance["model_sha256"])
    facts = {
        "Steps of each training": str(config.studies.usefulness_steps),
        "Model of the samples": ", ".join(models),
        **({"Command": command} if command else {}),
    }
    page = usefulness_page(f"Usefulness of {run.name}", study, told, facts)
    verdict = usefulness_verdict(study)
    figures = {"notices": told, "verdict": verdict, **study.as_json(), "model_sha256": models}
    return publish(out, page, "usefulness.json", figures, notices=told, words=[verdict])
