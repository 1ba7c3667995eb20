"""Evaluation: generated images against held-out real ones."""

from __future__ import annotations

from mrigen.cohort.closing import tell_figures
from mrigen.cohort.plan import closed_by
from mrigen.config import Config
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.evaluation.planning import plan_evaluation
from mrigen.evaluation.rounds import compute_figures, describe_images
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.features.names import MRI
from mrigen.features.networks import find_networks
from mrigen.images.index import ImageIndex, index_generated, index_real
from mrigen.images.scopes import ScopeKind
from mrigen.report.evaluation.card import card_figures
from mrigen.report.evaluation.metrics_json import metrics_json
from mrigen.report.evaluation.page import report_page
from mrigen.report.evaluation.terminal import evaluation_lines
from mrigen.report.notices import broken_notice, gate_notice, model_notices, notices
from mrigen.report.provenance import comparison_facts
from mrigen.report.publish import Published, publish, result_folder
from mrigen.run import SUCCESS
from mrigen.storage import Location


def evaluate_run(
    run: Location,
    config: Config,
    each: Each,
    *,
    samples: Location | None = None,
    out: Location | None = None,
    split: str = "test",
    extrapolation: bool = False,
    command: str | None = None,
) -> Published:
    """Evaluate the images in `samples` (`run/samples`) against those of `run/data` held out in `split` (test or val).

    Leaves `metrics.json` and `index.html` in `out` (`run/report`), and the leading figures in the card of `samples`;
    what is seen of real images stays in `run/.cache` for later evaluations. `extrapolation` asks how cells that were
    held out of training stand to lazy answers; `command` is shown on the page. What a killed evaluation left is taken
    up again.

    Raises InputError for a folder that is not what `mrigen prepare` or `mrigen generate` left, for networks that cannot
    be read, or for `extrapolation` where no classifier can be trained.
    """
    made, out = samples or run / "samples", result_folder(out or run / "report", "metrics.json")
    real = index_real(run / "data", split)
    generated = index_generated(made) if samples or (made / "manifest").is_folder() else ImageIndex()
    digest = closed_by(made)
    networks = find_networks(run, config)
    if extrapolation and networks.classifier is None:
        raise InputError(f"--extrapolation: {networks.absent[MRI]}")
    files = ShardFiles(run / ".cache" / "evaluation", out / ".parts")
    plan = plan_evaluation(real, generated, config, networks.hashes)
    no_samples = None if generated.files else "no generated images: run `mrigen generate` first"
    classifier, images = describe_images(
        plan, networks, config, each, files, shape=real.shape or (), split=split, no_samples=no_samples
    )
    evaluation = compute_figures(
        images, plan, each.on_cpu(), classifier=classifier, absent=networks.absent, extrapolation=extrapolation
    )
    said = [
        *notices(real.provenance, complete=not generated.files or (made / SUCCESS).is_file()),
        *model_notices(run / "model", generated.provenance, real.held_out_subjects),
        *gate_notice(made),
        *broken_notice(
            evaluation.num_broken_samples, sum(row.images["generated"] for row in evaluation.of_kind(ScopeKind.CELL))
        ),
    ]
    facts = comparison_facts(config, real.provenance, generated.provenance) | ({"Command": command} if command else {})
    page = report_page(
        title=f"Evaluation of {run.name}", evaluation=evaluation, config=config, notices=said, facts=facts
    )
    figures = metrics_json(evaluation, config, said, real.provenance, generated.provenance)
    words = [evaluation_lines(evaluation)]
    if digest is not None:
        try:
            tell_figures(card_figures(evaluation, said, command), made, digest)
        except (InputError, OSError) as error:
            words.append(f"note: the card of the samples does not tell these figures: {error}")
    published = publish(out, page, "metrics.json", figures, notices=said, words=words)
    files.generated.delete()
    return published
