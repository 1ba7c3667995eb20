"""The figures of an evaluation as lines for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrigen import __version__
from mrigen.condition_classifier.fidelity import CLASSES, TARGETS
from mrigen.config import Config
from mrigen.evaluation.extrapolation import ANSWERS, FLOOR, GENERATED, HEALTHY, NEAREST, Extrapolation
from mrigen.evaluation.shards import MAX_PER_CELL
from mrigen.evaluation.summary import FIDELITY, Evaluation
from mrigen.images.scopes import Kind
from mrigen.metrics.comparison import MAX_IMAGES, MIN_IMAGES
from mrigen.metrics.image_quality import ms_ssim_betas
from mrigen.metrics.kernel import MIN_UNITS
from mrigen.metrics.precision import NUM_NEIGHBOURS
from mrigen.metrics.resampling import LEVEL, MIN_OWNERS
from mrigen.report.evaluation.extrapolation_words import has_figure, standing
from mrigen.report.evaluation.verdict import verdict
from mrigen.report.figure_text import figure_text, p_text
from mrigen.report.notices import Provenance

SCHEMA_VERSION = 2
"""Of `metrics.json`, whose schema is docs/metrics-schema.json."""

_FACTS = {
    "source": "Real images from",
    "licence": "Licence of the real images",
    "model_sha256": "Model",
    "solver": "Solver",
    "num_steps": "Steps",
    "guidance_scale": "Guidance",
}


def figures_text(evaluation: Evaluation) -> str:
    """A table of all rows with the numbers of images, by the leading extractor; one of the cells held out of training,
    where extrapolation was asked for; and the verdict below. `-` stands where there is no figure."""
    lead = evaluation.extractors[0] if evaluation.extractors else "none"
    columns = {
        f"{lead}/kid": "KID",
        f"{lead}/kid_floor": "floor",
        f"{lead}/fid": "FID",
        f"{lead}/fid_floor": "floor",
        f"{lead}/precision": "precision",
        f"{lead}/coverage": "coverage",
        "diversity/ms_ssim_generated": "MS-SSIM",
        "diversity/ms_ssim_real": "of real",
        **{f"{FIDELITY}/{target}": target for target in TARGETS},
        "autoencoder-quality/psnr_db": "AE PSNR",
    }
    lines = [["cell", "real", "made", *columns.values(), "test"]]
    for row in (*evaluation.of_kind(Kind.CELL), *evaluation.of_kind(Kind.PATHOLOGY, Kind.MODALITY, Kind.OVERALL)):
        mark = " *" if row.scope.untrained and row.scope.kind == Kind.CELL else ""
        figures = [row.figures.get(name) for name in columns]
        shown = [figure_text(n, f) or "-" if f else "-" for n, f in zip(columns, figures, strict=True)]
        test = p_text(figures[0]) if figures[0] else None
        counts = [str(row.images["held_out"]), str(row.images["generated"])]
        lines.append([row.name + mark, *counts, *shown, test or "-"])
    text = _aligned(lines)
    if any(row.scope.untrained for row in evaluation.rows):
        text.append("* never seen in training")
    if evaluation.extrapolation is not None:
        text += _answers_text(evaluation.extrapolation)
    return "\n".join([*text, "", *verdict(evaluation)])


def _answers_text(found: Extrapolation) -> list[str]:
    """The KID of every answer for the cells that the model never saw, without those that nothing can be said of."""
    unseen = [score for score in found.scores if score.unseen and has_figure(score, GENERATED)]
    if not unseen:
        return []
    lead, figure = found.extractors[0], f"{found.extractors[0]}/kid"
    titles = {GENERATED: "generated", FLOOR: "floor", HEALTHY: "healthy", NEAREST: "other modality"}
    lines = [["never seen", *(titles[name] for name in ANSWERS), "generated are"]]
    for score in unseen:
        shown = [figure_text(figure, score.figures[name][figure]) or "-" for name in ANSWERS]
        rank = standing(score, figure)
        lines.append([str(score.cell), *shown, rank.words if rank else "-"])
    return [
        "",
        f"KID by {lead} to held-out real images of the cell, of generated images and of lazy answers:",
        *_aligned(lines),
    ]


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells of a table as lines of one length, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]


def metrics_json(
    evaluation: Evaluation, config: Config, said: Sequence[str], real: Provenance, generated: Provenance
) -> dict[str, Any]:
    """All figures with what they rest on, for `metrics.json`; no time and no place, so that equal input gives equal
    bytes."""
    betas = ms_ssim_betas(config.data.image_size)
    return {
        "schema_version": SCHEMA_VERSION,
        "mrigen_version": __version__,
        "split": evaluation.split,
        "held_out_sha256": evaluation.held_out,
        "config_sha256": config.digest(),
        "real": {name: list(values) for name, values in real.items()},
        "generated": {name: list(values) for name, values in generated.items()},
        "notices": list(said),
        "verdict": verdict(evaluation),
        "settings": {
            "extractors": {
                name: {"identity": evaluation.identities[name], "used": name in evaluation.extractors}
                for name in config.evaluation.extractors
            },
            "feature_size": config.evaluation.feature_size,
            "image_size": config.data.image_size,
            "interval_level": LEVEL,
            "num_bootstraps": config.evaluation.num_bootstraps,
            "num_permutations": config.evaluation.num_permutations,
            "num_neighbours": NUM_NEIGHBOURS,
            "min_images": MIN_IMAGES,
            "min_subjects_of_interval": MIN_OWNERS,
            "min_subjects_of_test": MIN_UNITS,
            "max_images_per_cell": MAX_PER_CELL,
            "max_images_of_all_pairs": MAX_IMAGES,
            "ms_ssim_betas": list(betas),
            "ms_ssim_pairs": config.evaluation.num_pairs,
        },
        "rows": [row.as_json() for row in evaluation.rows],
        "judge": evaluation.judge,
        "confusion": {
            target: {"classes": CLASSES[target], **matrices} for target, matrices in evaluation.confusion.items()
        },
        "extrapolation": evaluation.extrapolation.as_json() if evaluation.extrapolation else None,
    }


def comparison_facts(config: Config, real: Provenance, generated: Provenance) -> dict[str, str]:
    """What was compared, in words, for the foot of the page."""
    facts = {_FACTS[name]: ", ".join(filter(None, map(str, values))) for name, values in {**real, **generated}.items()}
    facts = {name: text for name, text in facts.items() if text}
    facts["Configuration"] = f"{config.digest()}, {config.data.image_size} pixels at {config.data.spacing_mm} mm"
    return facts
