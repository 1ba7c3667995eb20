"""The figures of an evaluation as lines for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mrigen import __version__
from mrigen.config import Config
from mrigen.metrics.distribution import MIN_FID_IMAGES
from mrigen.metrics.image_quality import ms_ssim_betas
from mrigen.metrics.plan import MAX_PER_CELL
from mrigen.metrics.summary import Evaluation
from mrigen.report.pages import figure_text

_COLUMNS = {
    "autoencoder_psnr_db": "AE PSNR",
    "autoencoder_ssim": "AE SSIM",
    "fid": "FID",
    "fid_floor": "floor",
    "ms_ssim_generated": "MS-SSIM",
    "ms_ssim_real": "of real",
}


_FACTS = {
    "source": "Real images from",
    "licence": "Licence of the real images",
    "model_sha256": "Model",
    "solver": "Solver",
    "num_steps": "Steps",
    "guidance_scale": "Guidance",
}

PHANTOM_NOTICE = (
    "The real images here are of a phantom cohort: brains computed from an atlas, not scanned. "
    "The figures say how well the model learned the phantom."
)
INCOMPLETE_NOTICE = "The samples are not complete: run `mrigen generate` to its end, then evaluate again."

Provenance = Mapping[str, Sequence[Any]]
"""Every value that occurs of each column of a `mrigen.metrics.plan.ImageIndex`."""


def figures_text(evaluation: Evaluation) -> str:
    """A table of all rows with the numbers of images; `-` stands where there is no figure."""
    lines = [["cell", "real", "made", *_COLUMNS.values()]]
    for row in (*evaluation.cells, *evaluation.pooled):
        mark = " *" if row.untrained and row.cell else ""
        figures = [figure_text(name, row.figures[name]) or "-" for name in _COLUMNS]
        lines.append([row.name + mark, str(row.images["held_out"]), str(row.images["generated"]), *figures])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    if any(row.untrained for row in evaluation.cells):
        text.append("* never seen in training")
    return "\n".join(text)


def metrics_json(
    evaluation: Evaluation, config: Config, said: Sequence[str], real: Provenance, generated: Provenance
) -> dict[str, Any]:
    """All figures with what they rest on, for `metrics.json`; no time and no place, so that equal input gives equal
    bytes."""
    betas = ms_ssim_betas(config.data.image_size)
    return {
        "mrigen_version": __version__,
        "split": evaluation.split,
        "config_sha256": config.digest(),
        "real": {name: list(values) for name, values in real.items()},
        "generated": {name: list(values) for name, values in generated.items()},
        "notices": list(said),
        "settings": {
            "feature_network": "EfficientNet-Lite0, ImageNet, 1280 pooled features",
            "feature_size": config.evaluation.feature_size,
            "min_fid_images": MIN_FID_IMAGES,
            "max_images_per_cell": MAX_PER_CELL,
            "ms_ssim_betas": list(betas),
            "ms_ssim_pairs": config.evaluation.num_pairs,
        },
        "cells": [row.as_json() for row in evaluation.cells],
        "pooled": {row.name: row.as_json() for row in evaluation.pooled},
    }


def comparison_facts(config: Config, real: Provenance, generated: Provenance) -> dict[str, str]:
    """What was compared, in words, for the foot of the page."""
    facts = {_FACTS[name]: ", ".join(filter(None, map(str, values))) for name, values in {**real, **generated}.items()}
    facts = {name: text for name, text in facts.items() if text}
    facts["Configuration"] = f"{config.digest()}, {config.data.image_size} pixels at {config.data.spacing_mm} mm"
    return facts


def notices(real: Provenance, *, complete: bool) -> list[str]:
    """What a reader must know before the figures; `complete` tells whether all samples were there."""
    found = []
    if any("phantom" in str(source).casefold() for source in real.get("source", ())):
        found.append(PHANTOM_NOTICE)
    if not complete:
        found.append(INCOMPLETE_NOTICE)
    return found
