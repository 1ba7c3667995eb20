"""What cheaper samplers cost in quality: KID, precision and coverage beside the time of a sample, by sampler.

    python docs/benchmarks/sampler_quality.py RUN [--model FOLDER] [--per-cell 20]

Draws PER_CELL samples of each trained cell by each of `SAMPLERS`, the same seeds for all, at the heights of held-out
images of RUN (a folder with `data/`) of that cell, and compares them with all held-out images of those cells
(EfficientNet-Lite0). Prints a table; time is of one thread, loading not counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from mrigen.config import EvaluationConfig
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.labels import Cell, Pathology
from mrigen.metrics.comparison import compare
from mrigen.metrics.figure import Figure
from mrigen.metrics.resampling import ImageSet
from mrigen.pipeline import Pipeline
from mrigen.records import read_table
from mrigen.samples import SampleRequest, sample_seed
from mrigen.storage import Location
from mrigen.training.places import evenly_spaced
from mrigen.training.rows import TrainingRows

SAMPLERS: tuple[dict[str, Any], ...] = (
    {"guide": "cfg", "guidance_scale": 1.0},
    {"guide": "cfg", "guidance_scale": 1.5},
    {"guide": "cfg", "guidance_scale": 2.0},
    {"guidance_scale": 1.6},
    {"guidance_scale": 2.2},
    {"guidance_scale": 2.8},
    {"guidance_scale": 2.2, "guidance_interval": (0.1, 0.6)},
    {"guidance_scale": 2.2, "num_steps": 16},
)
FIGURES = ("kid", "precision", "coverage")
MOST_REAL = 2000


def _told(figure: Figure) -> str:
    low, high = figure.interval or (float("nan"), float("nan"))
    return f"{figure.value:.3f} ({low:.3f} to {high:.3f})"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path))
@click.option("--per-cell", default=20)
def main(run: Path, model: Path | None, per_cell: int) -> None:
    torch.set_num_threads(1)
    pipeline, extract = Pipeline.load(model), FeatureExtractor(EvaluationConfig().feature_size)
    cells = [cell for cell in pipeline.training_counts if pipeline.is_trained(cell)]

    def image_set(pixels: Tensor, owners: list[str], codes: list[int]) -> ImageSet:
        with torch.inference_mode():
            features = torch.cat([extract(batch) for batch in pixels[:, None].split(32)])
        pathologies = list(Pathology)
        return ImageSet.of(features, owners, codes, [pathologies.index(cells[code].pathology) for code in codes])

    with tempfile.TemporaryDirectory() as scratch:
        rows = TrainingRows(Location.parse(run) / "data", "test", ["image"], Path(scratch))
        table = read_table(Location.parse(run) / "data", ["split", "subject", "pathology", "modality", "slice_mm"])
        labels = [row for row in table.to_pylist() if row["split"] == "test"]
        codes = [Cell.parse(f"{row['pathology']}:{row['modality']}") for row in labels]
        chosen = [row for row, cell in enumerate(codes) if cell in cells]
        chosen = [chosen[place] for place in evenly_spaced(len(chosen), MOST_REAL)]
        pixels = rows.tensor("image", np.array(chosen))
    real_codes = [cells.index(codes[row]) for row in chosen]
    real = image_set(pixels, [labels[row]["subject"] for row in chosen], real_codes)
    heights = {cell: [labels[row]["slice_mm"] for row in chosen if codes[row] == cell] for cell in cells}
    print(f"{per_cell} samples of each of {len(cells)} cells against {len(real)} held-out images")
    print(f"| sampler | {' | '.join(FIGURES)} | s a sample |\n|{' --- |' * (len(FIGURES) + 2)}")
    for settings in SAMPLERS:
        sampler = pipeline.config.sampler.model_copy(update=settings)
        requests = [
            SampleRequest(cell, sample_seed(0, cell, number), sampler, heights[cell][place])
            for cell in cells
            for number, place in enumerate(evenly_spaced(len(heights[cell]), per_cell))
        ]
        started = time.process_time()
        images = [sample.image for sample in pipeline.sample(requests)]
        seconds = (time.process_time() - started) / len(requests)
        owners = [str(number) for number in range(len(requests))]
        fake = image_set(torch.from_numpy(np.stack(images)), owners, [cells.index(r.cell) for r in requests])
        figures = compare(real, fake, EvaluationConfig(num_bootstraps=200), "sampler", infinity=False)
        name = f"{sampler.solver}, {sampler.num_steps} steps, scale {sampler.guidance_scale:g} from {sampler.guide}"
        if sampler.guidance_interval != (0.0, 1.0):
            name += " in {:g} to {:g}".format(*sampler.guidance_interval)
        print(f"| {name} | {' | '.join(_told(figures[figure]) for figure in FIGURES)} | {seconds:.3f} |", flush=True)


if __name__ == "__main__":
    main()
