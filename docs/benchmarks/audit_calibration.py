"""How often `mrigen audit` fails a model that copies nothing, and how often it catches one that does.

    python docs/benchmarks/audit_calibration.py RUN Healthy:T1w

RUN is a prepared run with an autoencoder and some hundred images of the cell. People are dealt to training, held-out
and new ones again and again; samples are images of new people, as they are or as the run's autoencoder restores them
(smoother than any real image), and for the second table some are training images, treated alike. Compares three tests:
of flagged samples alone, of low ratios alone, and of matches, which is the one that the audit uses. Also tells how
many copies each descriptor has among the 16 nearest. All pairs are compared, without shortlists.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrigen.audit.decision import MIN_DISTANCE, Proportion, excess_p_value
from mrigen.audit.likeness import align, unit_features, unit_spectrum
from mrigen.config import Config
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.features.networks import find_autoencoder
from mrigen.labels import Cell
from mrigen.model_folder.files import load_autoencoder
from mrigen.records import read_table, tensor_numpy
from mrigen.storage import Location

DEALS = 200
NUM_NEW = 10
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def similarities(images: Tensor, references: Tensor) -> Matrix:
    """Of each image to each reference."""
    rows = [[a.correlation for a in align(image, references, max_shift=2, mirror=True)] for image in images]
    return np.array(rows)


def recall(images: Tensor, copies: Tensor) -> str:
    """How many copies have their original among their 16 nearest, by either descriptor."""
    extract = FeatureExtractor(Config().evaluation.feature_size)
    shares = {}
    for name, describe in (("features", lambda x: unit_features(extract, x, mirror=True)), ("spectrum", unit_spectrum)):
        here, there = (torch.cat([describe(b[:, None]) for b in x.split(32)]) for x in (copies, images))
        cosines = here @ there.T
        shares[name] = float(((cosines > cosines.diag()[:, None]).sum(1) < 16).double().mean())
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def deal(
    real: Matrix, made: Matrix, subjects: Any, sizes: tuple[int, int, int], num_copies: int, rng: np.random.Generator
) -> list[float]:
    """The p-values of the three tests for one deal of people: training, held-out, and samples drawn of new people."""
    num_training, num_held_out, num_samples = sizes
    people = rng.permutation(np.unique(subjects))
    training = np.isin(subjects, people[:num_training])
    held_out = np.flatnonzero(np.isin(subjects, people[num_training : num_training + num_held_out]))
    new = np.isin(subjects, people[num_training + num_held_out :][:NUM_NEW])
    samples = np.concatenate(
        [rng.choice(np.flatnonzero(new), num_samples), rng.choice(np.flatnonzero(training), num_copies)]
    )
    others = np.where(
        subjects[held_out][:, None] == subjects[held_out][None, :], -1.0, real[np.ix_(held_out, held_out)]
    )
    near, near_made = real[np.ix_(held_out, training)].max(1), made[np.ix_(samples, training)].max(1)
    ratio = _ratio(near, others.max(1))
    ratio_made = _ratio(near_made, made[np.ix_(samples, held_out)].max(1))
    high, low = np.percentile(near, 99, method="higher"), np.percentile(ratio, 1, method="lower")
    p_values = []
    for of_samples, of_held_out in (
        (near_made > high, near > high),
        (ratio_made < low, ratio < low),
        ((near_made > high) & (ratio_made < low), (near > high) & (ratio < low)),
    ):
        shares = Proportion(int(of_samples.sum()), len(samples)), Proportion(int(of_held_out.sum()), len(held_out))
        p_values.append(excess_p_value([shares]))
    return p_values


def _ratio(near: Matrix, far: Matrix) -> Matrix:
    return np.maximum(1 - near, MIN_DISTANCE) / np.maximum(1 - far, MIN_DISTANCE)


def main(run: Location, cell: Cell) -> None:
    table = read_table(run / "data", ["subject", "pathology", "modality", "image"])
    keep = [
        k
        for k, row in enumerate(table.select(["pathology", "modality"]).to_pylist())
        if (row["pathology"], row["modality"]) == (str(cell.pathology), str(cell.modality))
    ]
    table = table.take(keep)
    subjects = np.array(table["subject"].to_pylist())
    images = torch.from_numpy(tensor_numpy(table["image"]).copy())
    folder = find_autoencoder(run)
    if folder is None:
        raise SystemExit(f"no autoencoder in {run}")
    with torch.inference_mode(), folder.as_local() as path:
        network = load_autoencoder(path)
        restored = torch.cat([network.decode(network.encode(b[:, None]).mean)[:, 0] for b in images.split(32)])
        restored = restored.clamp(-1.0, 1.0)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        rough = 0.7 * (images.roll((2, -1), (1, 2)).flip(1) + 0.1 * noise) + 0.1
        print(f"{len(images)} images of {len(np.unique(subjects))} people")
        print(f"restored copies found: {recall(images, restored)}")
        print(f"moved, mirrored, scaled, noisy copies found: {recall(images, rough)}")
        real, smooth = similarities(images, images), similarities(restored, images)
    print("share of deals that fail by: flagged alone, ratios alone, matches")
    for num_copies in (0, 5, 10, 20):
        for name, made in (("as they are", real), ("restored", smooth)):
            for sizes in ((70, 20, 110), (70, 20, 500), (40, 10, 110), (20, 6, 200)):
                rng = np.random.default_rng(0)
                failed = np.array([deal(real, made, subjects, sizes, num_copies, rng) for _ in range(DEALS)]) < 0.01
                shares = ", ".join(f"{share:.1%}" for share in failed.mean(0))
                people = f"{sizes[0]} people trained on, {sizes[1]} held out"
                print(f"{num_copies} copies; {people}; {sizes[2]} samples {name}: {shares}", flush=True)


if __name__ == "__main__":
    main(Location.parse(sys.argv[1]), Cell.parse(sys.argv[2]))
