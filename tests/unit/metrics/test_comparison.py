from __future__ import annotations

import numpy as np
import pytest
import torch

from mrigen.config import EvaluationConfig
from mrigen.evaluation.described_cells import DescribedCell
from mrigen.evaluation.figure_tasks import image_set, matched_counts
from mrigen.images.scopes import Scope, ScopeKind
from mrigen.labels import Cell
from mrigen.metrics import comparison as comparison_module
from mrigen.metrics.comparison import compare, limited
from mrigen.metrics.distribution import frechet
from mrigen.metrics.resampling import ImageSet, interval, owner_weights, seeded

SETTINGS = EvaluationConfig(num_bootstraps=200, num_permutations=100)
A, B = Cell.parse("Healthy:T1w"), Cell.parse("Healthy:T2w")


def subjects(num: int, slices: int, width: int, seed: int, likeness: float = 0.6) -> ImageSet:
    generator = np.random.default_rng(seed)
    common, own = generator.normal(size=(num, 1, width)), generator.normal(size=(num, slices, width))
    features = (likeness**0.5 * common + (1 - likeness) ** 0.5 * own).reshape(-1, width)
    zeros = [0] * len(features)
    return ImageSet.of(torch.from_numpy(features), [str(i // slices) for i in range(len(features))], zeros, zeros)


@pytest.mark.parametrize(("width", "num"), [(64, 12), (8, 20)])
def test_the_interval_of_fid_holds_its_expectation_at_this_n(width: int, num: int) -> None:
    """With more features than images, and with fewer. Distances of images drawn anew lie too high."""
    values, lows, highs = [], [], []
    for seed in range(120):
        real = subjects(num, 4, width, seed)
        fake = ImageSet.plain(torch.from_numpy(np.random.default_rng(seed + 500).normal(size=(4 * num, width)) + 0.2))
        figure = compare(real, fake, SETTINGS, seed, infinity=False)["fid"]
        values.append(figure.value)
        lows.append(figure.low)
        highs.append(figure.high)
    middle = np.mean(values)
    assert 0.88 <= np.mean((np.array(lows) <= middle) & (middle <= np.array(highs))) <= 0.995
    assert 3.0 < np.mean(np.array(highs) - np.array(lows)) / np.std(values) < 6.0
    rows = np.random.default_rng(0).integers(0, len(real), (20, len(real)))
    naive = [frechet(real.features[each], fake.features).value for each in rows]
    assert np.median(naive) > values[-1]


def test_too_few_images_and_constant_features_give_reasons() -> None:
    few, many = ImageSet.plain(torch.rand(9, 3)), ImageSet.plain(torch.rand(30, 3))
    for figure in compare(many, few, SETTINGS, infinity=True).values():
        assert "needs 10 images on each side, here are 30 real and 9" in (figure.reason or "")
    flat = ImageSet.plain(torch.ones(30, 3))
    assert {f.reason for f in compare(flat, many, SETTINGS, infinity=False).values()} == {
        "the features of the real images are all the same"
    }
    one = ImageSet.of(torch.rand(30, 3), ["a"] * 30, [0] * 30, [0] * 30)
    figures = compare(one, many, SETTINGS, infinity=True)
    assert figures["kid"].reason == "KID needs images of two subjects on each side, in every cell"
    assert figures["fid"].value is not None
    assert figures["fid"].low is None
    assert "100 images" in (figures["fid_infinity"].reason or "")


def test_one_image_over_and_over_still_has_figures() -> None:
    figures = compare(ImageSet.plain(torch.rand(30, 3)), ImageSet.plain(torch.ones(30, 3)), SETTINGS, infinity=False)
    assert all(figure.value is not None for figure in figures.values())


def test_seeds_decide_the_last_digit() -> None:
    real, fake = subjects(8, 3, 4, 0), ImageSet.plain(torch.rand(30, 4))
    figures = [compare(real, fake, SETTINGS, key, infinity=False) for key in ("x", "x", "y")]
    assert figures[0] == figures[1]
    assert figures[0]["kid"].value == figures[2]["kid"].value
    assert figures[0]["kid"].low != figures[2]["kid"].low


def test_all_pairs_are_taken_of_equally_many_images_of_each_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_module, "MAX_IMAGES", 10)
    cells = [0] * 20 + [3] * 8
    images = ImageSet.of(torch.arange(28)[:, None], [str(i) for i in range(28)], cells, cells)
    few = limited(images)
    assert few.features[:, 0].tolist() == [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]
    assert few.owners.tolist() == list(range(10))


def described(num: int, name: str = "") -> DescribedCell:
    return DescribedCell([{"owner": f"{name}{i}", "features": [np.full(2, i, np.float32)]} for i in range(num)])


@pytest.mark.parametrize(
    ("kind", "real", "made", "others", "count"),
    [
        (ScopeKind.CELL, 50, 40, 40, 40),
        (ScopeKind.CELL, 50, 40, 15, 15),  # a figure and its floor have one N
        (ScopeKind.CELL, 50, 40, 9, 40),  # too few for a floor
        (ScopeKind.CELL, 50, 0, 30, 30),
        (ScopeKind.MODALITY, 20, 40, 40, 20),
    ],
)
def test_a_figure_and_its_floor_take_equally_many(
    kind: ScopeKind, real: int, made: int, others: int, count: int
) -> None:
    scope = Scope("x", kind, (A,))
    assert matched_counts(scope, [described(real)], [described(made)], [described(others)]) == [count]


def test_image_sets_carry_owners_cells_and_pathologies() -> None:
    images = image_set([(A, described(5, "a"), 2), (B, described(5, "b"), 3)], 0)
    assert images.features[:, 0].tolist() == [0, 1, 0, 1, 2]
    assert images.owners.tolist() == [0, 1, 2, 3, 4]
    assert images.cells.tolist() == [0, 0, 2, 2, 2]
    assert images.strata.tolist() == [0] * 5


def test_owners_are_drawn_within_their_stratum() -> None:
    owners = np.array([0, 0, 1, 2, 3, 4, 5])
    strata = np.array([0, 0, 0, 0, 1, 1, 1])
    weights = owner_weights(owners, strata, 50, seeded(0))
    assert weights is not None
    assert weights.shape == (50, 6)
    assert (weights[:, :3].sum(1) == 3).all()
    assert (weights[:, 3:].sum(1) == 3).all()
    assert weights.std() > 0
    assert owner_weights(np.arange(4), np.zeros(4, np.int64), 50, seeded(0)) is None


def test_draws_that_are_not_finite_do_not_count() -> None:
    draws = np.concatenate([np.linspace(0, 1, 101), [np.nan] * 50])
    assert interval(draws) == pytest.approx((0.025, 0.975))
    assert interval(np.array([1.0, np.nan, np.nan])) is None
