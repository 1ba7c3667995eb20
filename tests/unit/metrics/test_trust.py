"""What an evaluation must not miss, and must not make up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mrigen.labels import Cell
from mrigen.metrics.scopes import Kind
from mrigen.metrics.summary import Evaluation
from mrigen.report.figures import apart, told_apart
from tests.fake_run import SIZE, sample_row, tiny_config, write_samples
from tests.unit.metrics.evaluating import T1W, T2W, Pixels, brain, evaluated, fresh_brains, row_named, write_cohort

NUM = 40
LEAD = "efficientnet-lite0"
CONFIG = tiny_config(
    f"evaluation.extractors=[{LEAD}]",
    "evaluation.feature_size=64",
    "evaluation.num_pairs=100",
    "evaluation.num_bootstraps=200",
    "evaluation.num_permutations=400",
)
Make = Callable[[Cell], list[Pixels]]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, {"train": 10, "test": 10})
    return folder


def evaluation_of(cohort: Path, folder: Path, make: Make) -> Evaluation:
    (folder / "data").symlink_to(cohort / "data")
    rows = [sample_row(cell, i, image=image) for cell in (T1W, T2W) for i, image in enumerate(make(cell))]
    write_samples(folder / "samples", rows)
    return evaluated(folder, CONFIG)


def caught_by(evaluation: Evaluation, cell: Cell) -> set[str]:
    """The figures of a cell by which generated images differ from real ones, beyond the floor and the intervals."""
    figures = row_named(evaluation, cell).figures
    found = set()
    for name in ("kid", "fid", "precision", "recall", "density", "coverage"):
        if apart(figures[f"{LEAD}/{name}"], figures[f"{LEAD}/{name}_floor"]):
            found.add(name)
    if told_apart(figures[f"{LEAD}/kid"]):
        found.add("test")
    if apart(figures["diversity/ms_ssim_generated"], figures["diversity/ms_ssim_real"]):
        found.add("ms_ssim")
    return found


def test_real_images_of_other_subjects_score_at_the_floor(cohort: Path, tmp_path: Path) -> None:
    evaluation = evaluation_of(cohort, tmp_path, lambda cell: list(fresh_brains(cell, NUM)))
    for row in evaluation.of_kind(Kind.OVERALL, Kind.CELL):
        if row.scope.cell not in (None, T1W, T2W) or row.scope.untrained:
            continue
        kid, floor = row.figures[f"{LEAD}/kid"], row.figures[f"{LEAD}/kid_floor"]
        assert floor.low is not None
        assert floor.high is not None
        assert floor.low <= kid.value <= floor.high
        assert floor.low <= 0 <= floor.high
        assert kid.p_value > 0.01
        assert floor.p_value > 0.01
        assert kid.n == floor.n
    for cell in (T1W, T2W):
        assert caught_by(evaluation, cell) == set()


def noise(cell: Cell) -> list[Pixels]:
    random = np.random.default_rng(0)
    return [random.uniform(-1, 1, (SIZE, SIZE)).astype(np.float32) for _ in range(NUM)]


def blurred(cell: Cell) -> list[Pixels]:
    return [gaussian_filter(image, 1.0) for image in fresh_brains(cell, NUM)]


def repeated(cell: Cell) -> list[Pixels]:
    return [brain(cell, "new1", 1)] * NUM


def swapped(cell: Cell) -> list[Pixels]:
    return list(fresh_brains(T2W if cell == T1W else T1W, NUM))


@pytest.mark.parametrize(
    ("make", "by"),
    [
        (noise, {"kid", "fid", "test", "precision", "ms_ssim"}),
        (blurred, {"kid", "fid", "test"}),
        (repeated, {"kid", "test", "recall", "coverage", "ms_ssim"}),
        (swapped, {"fid", "test"}),
    ],
)
def test_bad_images_are_caught(cohort: Path, tmp_path: Path, make: Make, by: set[str]) -> None:
    evaluation = evaluation_of(cohort, tmp_path, make)
    for cell in (T1W, T2W):
        assert by <= caught_by(evaluation, cell)


def test_swapped_labels_show_in_the_cells_though_not_in_all_cells_together(cohort: Path, tmp_path: Path) -> None:
    """The mixture is right, so only a figure for each cell can tell: why the cells lead."""
    overall = evaluation_of(cohort, tmp_path, swapped).of_kind(Kind.OVERALL)[0].figures
    assert not apart(overall[f"{LEAD}/fid"], overall[f"{LEAD}/fid_floor"])
