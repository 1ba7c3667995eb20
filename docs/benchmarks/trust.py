"""Which figure of `mrigen evaluate` catches which kind of bad samples, on the phantom.

    python -m docs.benchmarks.trust

Draws a phantom cohort of all 20 cells and splits it by subject. The samples are slices of new subjects: as they are,
replaced by noise, blurred, one of a cell repeated, and with the pathologies or the modalities of their labels swapped.

The first table has every figure of all cells together, beside that of real images. The second counts the cells, and
the rows of pathologies, in which a figure tells the samples from real images: where its interval does not meet that of
real ones, or p < 0.01. The third deals the subjects out anew, again and again, and compares the slices of some with
those of others: nothing differs there, so p-values should be evenly spread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mrigen.config import Config
from mrigen.evaluation.summary import Evaluation
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.images.scopes import ScopeKind
from mrigen.labels import Cell, Modality, all_cells
from mrigen.metrics.kernel import permutation_test
from mrigen.metrics.resampling import ImageSet, seeded
from mrigen.report.figure_text import figure_text
from tests.phantom_cohort import NEW, Cohort, draw_cohort
from tests.unit.evaluation.trusting import KINDS, Evaluator, beside, caught_by

NUM_SUBJECTS = {"train": 30, "val": 6, "test": 16, NEW: 200}
"""Of each pathology. Every new one gives a slice to one of five cells: 40 samples a cell."""
SPACING_MM = 3.0
VAE = Path(__file__).parents[2] / "mrigen" / "embedded" / "model" / "vae"
DEALT = (Modality.T1W, Modality.FLAIR)
NUM_DEALS, NUM_HELD_OUT, NUM_OTHERS = 50, (8, 16), 30

Evaluations = Mapping[str, Evaluation]


def subject_images(cohort: Cohort, cell: Cell, feature_size: int) -> ImageSet:
    """The features of all images of a cell in `data/`; each is of its subject."""
    rows = [row for row in cohort.rows if (row["pathology"], row["modality"]) == (cell.pathology, cell.modality)]
    images = torch.from_numpy(np.stack([row["image"] for row in rows]).astype(np.float32))[:, None]
    extract = FeatureExtractor(feature_size)
    with torch.inference_mode():
        features = torch.cat([extract(batch) for batch in images.split(32)])
    zeros = [0] * len(rows)
    return ImageSet.of(features, [row["subject"] for row in rows], zeros, zeros)


def dealt_p_values(
    images: ImageSet, num_deals: int, num_held_out: int, num_others: int, *, single: bool, num_permutations: int
) -> list[float]:
    """The p-values of real images against real ones: again and again, subjects are dealt out anew, and all slices of
    the held-out ones compared with those of others; if `single`, with one of each, as if they were samples."""
    p_values = []
    for deal in range(num_deals):
        random = seeded(num_held_out, num_others, single, deal)
        people = random.permutation(images.num_owners)
        others = people[num_held_out : num_held_out + num_others]
        rows = [np.flatnonzero(images.owners == one) for one in others]
        if single:
            rows = [random.choice(own, 1) for own in rows]
        real = images.taken(np.flatnonzero(np.isin(images.owners, people[:num_held_out])))
        p_values.append(permutation_test(real, images.taken(np.concatenate(rows)), num_permutations, random))
    return p_values


def print_row(*texts: object) -> None:
    """A row of a table."""
    print(f"| {' | '.join(map(str, texts))} |", flush=True)


def print_head(*titles: str) -> None:
    """The titles of a table."""
    print()
    print_row(*titles)
    print_row(*["---"] * len(titles))


def print_pooled(evaluations: Evaluations, extractors: Sequence[str]) -> None:
    """All cells together; bold is what tells."""
    rows = {kind: evaluation.of_kind(ScopeKind.OVERALL)[0].figures for kind, evaluation in evaluations.items()}
    caught = {kind: caught_by(figures, extractors) for kind, figures in rows.items()}
    real = next(iter(rows.values()))
    print_head("all cells together", "real ones", *rows)
    for name, (_, floor) in beside(real, extractors).items():
        texts = {kind: figure_text(name, beside(figures, extractors)[name][0]) for kind, figures in rows.items()}
        print_row(
            name,
            figure_text(name, floor),
            *(f"**{text}**" if name in caught[kind] else text for kind, text in texts.items()),
        )
    for extractor in extractors:
        p_values = [real[f"{extractor}/kid_floor"].p_value, *(row[f"{extractor}/kid"].p_value for row in rows.values())]
        print_row(f"{extractor}/test (p)", *(f"{p:.4f}" for p in p_values))


def print_counts(evaluations: Evaluations, extractors: Sequence[str]) -> None:
    """In how many cells each figure tells, and in how many rows of pathologies."""
    figures = beside(evaluations["real"].of_kind(ScopeKind.CELL)[0].figures, extractors)
    names = sorted([*figures, *(f"{extractor}/test" for extractor in extractors)])
    caught = {
        (kind, of): [caught_by(row.figures, extractors) for row in evaluation.of_kind(of)]
        for kind, evaluation in evaluations.items()
        for of in (ScopeKind.CELL, ScopeKind.PATHOLOGY)
    }
    print_head("tells in so many of 20 cells, of 4 pathologies", *evaluations)
    for name in names:
        counts = {key: sum(name in one for one in found) for key, found in caught.items()}
        pairs = [(counts[kind, ScopeKind.CELL], counts[kind, ScopeKind.PATHOLOGY]) for kind in evaluations]
        print_row(name, *(f"{cells}, {pathologies}" for cells, pathologies in pairs))
    for kind, evaluation in evaluations.items():
        untold = [row.name for row in evaluation.of_kind(ScopeKind.CELL) if not caught_by(row.figures, extractors)]
        if untold and kind != "real":
            print(f"\nin these cells nothing tells, {kind}: {', '.join(untold)}")


def print_p_values(cohort: Cohort, config: Config) -> None:
    """How p-values of real images against real ones are spread."""
    print_head("real against real", "comparisons", "mean p", "p < 0.05", "p < 0.01")
    cells = [cell for cell in all_cells() if cell.modality in DEALT]
    images = [subject_images(cohort, cell, config.evaluation.feature_size) for cell in cells]
    for single, told in ((True, "one slice of each"), (False, "all slices")):
        for count in NUM_HELD_OUT:
            deals = [
                dealt_p_values(some, NUM_DEALS, count, NUM_OTHERS, single=single, num_permutations=1000)
                for some in images
            ]
            p = np.concatenate(deals)
            title = f"{count} subjects, and {told} of {NUM_OTHERS} others"
            print_row(title, len(p), f"{p.mean():.2f}", f"{(p < 0.05).mean():.1%}", f"{(p < 0.01).mean():.1%}")


def main() -> None:
    config = Config()
    torch.set_num_threads(1)  # as in a worker
    cohort = draw_cohort(all_cells(), NUM_SUBJECTS, config.data, spacing_mm=SPACING_MM)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        cohort.write(run)
        (run / "vae").symlink_to(VAE)
        evaluate = Evaluator(run, config)
        evaluations = {kind: evaluate(kind, make(cohort.new)) for kind, make in KINDS.items()}
    print_pooled(evaluations, config.evaluation.extractors)
    print_counts(evaluations, config.evaluation.extractors)
    print_p_values(cohort, config)


if __name__ == "__main__":
    main()
