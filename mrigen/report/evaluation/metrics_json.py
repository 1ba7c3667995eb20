"""The figures of an evaluation as `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrigen import __version__
from mrigen.condition_classifier.fidelity import CLASSES
from mrigen.config import Config
from mrigen.evaluation.planning import MAX_PER_CELL
from mrigen.evaluation.summary import Evaluation
from mrigen.metrics.comparison import MAX_IMAGES, MIN_IMAGES
from mrigen.metrics.image_quality import ms_ssim_betas
from mrigen.metrics.kernel import MIN_UNITS
from mrigen.metrics.precision import NUM_NEIGHBOURS
from mrigen.metrics.resampling import LEVEL, MIN_OWNERS
from mrigen.report.evaluation.verdict import verdict
from mrigen.report.provenance import Provenance

SCHEMA_VERSION = 2
"""Of `metrics.json`, whose schema is docs/metrics-schema.json."""


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
        "real": dict(real),
        "generated": dict(generated),
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
        "judge": evaluation.classifier,
        "confusion": {
            target: {"classes": CLASSES[target], **matrices} for target, matrices in evaluation.confusion.items()
        },
        "extrapolation": evaluation.extrapolation.as_json() if evaluation.extrapolation else None,
    }
