"""How closely the areas that `mrigen evaluate` measures follow the truth of a phantom cohort.

    python docs/benchmarks/clinical_areas.py RUN COHORT

RUN holds `data/` of the phantom COHORT. Over the held-out slices of each modality: Pearson's correlation of the bright
area with that of the lesion mask, and over their subjects of the mean area of the ventricles with their true volume.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import pandas
from scipy.stats import pearsonr

from mrigen.metrics.clinical import BRIGHT, DARK_FLUID, BrainSlice
from mrigen.records import read_table, tensor_numpy, unpack_mask
from mrigen.storage import Location


@click.command()
@click.argument("run")
@click.argument("cohort", type=click.Path(path_type=Path))
def main(run: str, cohort: Path) -> None:
    """Print a line for each modality."""
    truth = pandas.read_csv(cohort / "participants.tsv", sep="\t").set_index("participant_id")["ventricle_ml"]
    columns = ["subject", "modality", "split", "image", "lesions", "spacing_mm"]
    table = read_table(Location.parse(run) / "data", columns)
    images = tensor_numpy(table["image"])
    rows = list(zip(*(table[name].to_pylist() for name in columns if name != "image"), images, strict=True))
    for modality in DARK_FLUID:
        areas: list[tuple[float, float]] = []
        ventricles = defaultdict(list)
        for subject, of, split, lesions, spacing_mm, image in rows:
            if split != "test" or of != modality:
                continue
            brain = BrainSlice.of(image, spacing_mm)
            ventricles[subject].append(brain.ventricle_mm2(modality))
            if modality in BRIGHT:
                true = unpack_mask(lesions, image.shape).sum() * spacing_mm**2
                areas.append((true, brain.bright_mm2(modality) or 0.0))
        means = [float(np.mean(found)) for found in ventricles.values()]
        volumes = [truth[f"sub-{name.rpartition('sub-')[2]}"] for name in ventricles]
        bright = f"bright {pearsonr(*zip(*areas, strict=True)).statistic:.2f} (N {len(areas)}), " if areas else ""
        print(f"{modality}: {bright}ventricles {pearsonr(means, volumes).statistic:.2f} (N {len(means)})")


if __name__ == "__main__":
    main()
