from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance

from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import kid, kid_widths, permutation_test, permutation_units, polynomial_kernel
from mrigen.metrics.resampling import ImageSet, interval, seeded
from mrigen.report.evaluation.widths import images_for


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def subjects(num: int, slices: int, width: int, likeness: float, seed: int) -> ImageSet:
    """`slices` standard normal features of each subject, correlated by `likeness`."""
    common, own = normal(num, 1, width, seed=seed), normal(num, slices, width, seed=seed + 10_000)
    features = (likeness**0.5 * common + (1 - likeness) ** 0.5 * own).reshape(-1, width)
    zeros = [0] * len(features)
    return ImageSet.of(features, [str(i // slices) for i in range(len(features))], zeros, zeros)


def kid_value(real: ImageSet, fake: ImageSet) -> float:
    return kid(real, fake, 1, seeded(0)).value


def test_kid_is_that_of_torchmetrics_where_all_images_are_independent() -> None:
    class Flatten(torch.nn.Module):
        num_features = 8

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    real, fake = normal(30, 8), normal(30, 8, seed=1) + 0.3
    metric = KernelInceptionDistance(feature=Flatten(), subsets=1, subset_size=30).set_dtype(torch.float64)
    metric.update(real.reshape(30, 1, 2, 4), real=True)
    metric.update(fake.reshape(30, 1, 2, 4), real=False)
    expected = float(metric.compute()[0])
    assert kid_value(ImageSet.plain(real), ImageSet.plain(fake)) == pytest.approx(expected, rel=1e-9)


def test_closed_form_for_two_points() -> None:
    """Within each set the kernel is that of the point with itself: (|x|^2/D+1)^3 + (|y|^2/D+1)^3 - 2 (xy/D+1)^3."""
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])
    expected = 3.5**3 + 5.5**3 - 2 * 2.5**3
    assert kid_value(ImageSet.plain(x.repeat(4, 1)), ImageSet.plain(y.repeat(6, 1))) == pytest.approx(expected)
    assert polynomial_kernel(x, y).item() == pytest.approx(2.5**3)


def shifted_kernel(mean_a: float, mean_b: float, width: int) -> float:
    """E (x.y/D + 1)^3 for x, y ~ N(mean e_1, 1), independent, D = width: with t = x.y, E t = ab,
    E t^2 = (a^2+1)(b^2+1) + D-1, E t^3 = (a^3+3a)(b^3+3b) + 3 ab (D-1)."""
    a, b, d = mean_a, mean_b, width
    first, second = a * b, (a * a + 1) * (b * b + 1) + d - 1
    third = (a**3 + 3 * a) * (b**3 + 3 * b) + 3 * a * b * (d - 1)
    return 1 + 3 * first / d + 3 * second / d**2 + third / d**3


def shifted_kid(shift: float, width: int) -> float:
    """KID of two normal distributions, one of them shifted along an axis."""
    within = shifted_kernel(0, 0, width) + shifted_kernel(shift, shift, width)
    return within - 2 * shifted_kernel(0, shift, width)


@pytest.mark.parametrize("n", [8, 25])
def test_closed_form_for_gaussians_without_bias_in_n(n: int) -> None:
    shift = torch.tensor([0.7, 0.0], dtype=torch.float64)
    values = [
        kid_value(ImageSet.plain(normal(n, 2, seed=s)), ImageSet.plain(normal(n + 3, 2, seed=s + 5000) + shift))
        for s in range(400)
    ]
    error = np.std(values) / len(values) ** 0.5
    assert np.mean(values) == pytest.approx(shifted_kid(0.7, 2), abs=4 * error)
    assert error < 0.15 * shifted_kid(0.7, 2)


def test_slices_of_one_subject_do_not_raise_kid() -> None:
    """All pairs would: those within a subject are alike."""
    values, naive = [], []
    for seed in range(75):
        real, fake = subjects(8, 6, 4, 0.8, seed), ImageSet.plain(normal(48, 4, seed=seed + 777))
        values.append(kid_value(real, fake))
        naive.append(kid_value(ImageSet.plain(real.features), fake))
    assert abs(np.mean(values)) < 3 * np.std(values) / 75**0.5
    assert np.mean(naive) > 10 * np.std(naive) / 75**0.5


def test_cells_weigh_the_same_whatever_their_numbers() -> None:
    """Two cells that differ much, in equal proportions on one side and unequal ones on the other: still no distance."""

    def both(n: int, m: int, seed: int) -> ImageSet:
        features = torch.cat([normal(n, 4, seed=seed), normal(m, 4, seed=seed + 1) + 3.0])
        return ImageSet.of(features, [str(i) for i in range(n + m)], [0] * n + [1] * m, [0] * n + [1] * m)

    values = [kid_value(both(20, 20, 4 * s), both(10, 30, 4 * s + 2)) for s in range(50)]
    assert abs(np.mean(values)) < 3.5 * np.std(values) / 50**0.5


@pytest.mark.parametrize("seed", range(2))
def test_a_cell_of_two_subjects_has_no_draws_whatever_the_seed(seed: int) -> None:
    """Half of its draws would take one subject twice, which leaves no pair."""
    plenty = subjects(6, 2, 8, 0.5, seed)

    def with_other_cell(num: int) -> ImageSet:
        few = subjects(num, 2, 8, 0.5, seed + 1)
        names = [f"a{i}" for i in plenty.owners] + [f"b{i}" for i in few.owners]
        cells = [0] * len(plenty) + [1] * len(few)
        return ImageSet.of(torch.cat([plenty.features, few.features]), names, cells, cells)

    two, three = with_other_cell(2), with_other_cell(3)
    assert kid(two, three, 100, seeded(seed)).draws is None
    assert kid(three, two, 100, seeded(seed)).draws is None
    draws = kid(three, three, 1000, seeded(seed)).draws
    assert draws is not None
    assert np.isfinite(draws).mean() > 0.7
    assert interval(draws) is not None


def test_draws_spread_as_kid_does() -> None:
    """The interval holds the true distance as often as it says, and is no wider than it must be."""
    hits, widths, values, truth = 0, [], [], shifted_kid(1.0, 8)
    shift = torch.zeros(8, dtype=torch.float64)
    shift[0] = 1.0
    for seed in range(60):
        found = kid(
            subjects(20, 4, 8, 0.6, seed), ImageSet.plain(normal(80, 8, seed=seed + 300) + shift), 300, seeded(seed)
        )
        assert found.draws is not None
        low, high = interval(found.draws) or (0.0, 0.0)
        hits += low <= truth <= high
        widths.append(high - low)
        values.append(found.value)
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / 60**0.5)
    assert 0.90 <= hits / 60 <= 0.995
    assert 3.0 < np.mean(widths) / np.std(values) < 5.0  # 3.92 for a normal distribution


def test_the_permutation_test_is_right_about_chance() -> None:
    """Where both are of one kind, a tenth of the p-values are at most 0.1. With slices as units, far more would be."""
    p_values, naive = [], []
    for seed in range(100):
        real, fake = subjects(12, 4, 4, 0.7, seed), ImageSet.plain(normal(48, 4, seed=seed + 999))
        p_values.append(permutation_test(real, fake, 200, seeded(seed)))
        naive.append(permutation_test(ImageSet.plain(real.features), fake, 200, seeded(seed)))
    assert 0.04 <= np.mean(np.array(p_values) <= 0.1) <= 0.17
    assert np.mean(np.array(naive) <= 0.1) > 0.25


def test_the_permutation_test_finds_a_difference() -> None:
    real = subjects(12, 4, 4, 0.5, 0)
    assert permutation_test(real, ImageSet.plain(normal(48, 4, seed=1) + 1.5), 1000, seeded(0)) < 0.01
    assert permutation_test(real, real, 200, seeded(0)) > 0.5


def test_strata_and_cells_keep_to_themselves() -> None:
    """Two pathologies far apart, with other mixtures of cells in each subject: no difference is found."""
    p_values = []
    for seed in range(60):
        features = torch.cat([normal(40, 3, seed=seed), normal(40, 3, seed=seed + 500) + 8.0])
        owners = [str(i // 4) for i in range(80)]
        cells = [0] * 40 + [1] * 40
        real = ImageSet.of(features, owners, cells, cells)
        other = torch.cat([normal(24, 3, seed=seed + 1000), normal(24, 3, seed=seed + 1500) + 8.0])
        codes = [0] * 24 + [1] * 24
        fake = ImageSet.of(other, [str(i) for i in range(48)], codes, codes)
        p_values.append(permutation_test(real, fake, 100, seeded(seed)))
    assert 0.02 <= np.mean(np.array(p_values) <= 0.1) <= 0.22


def test_units_are_the_poorer_sides_owners() -> None:
    real, fake = subjects(6, 4, 2, 0.5, 0), ImageSet.plain(normal(48, 2))
    assert permutation_units(real, fake) == permutation_units(fake, real) == 6
    with pytest.raises(ValueError, match="needs 7 subjects, got 6"):
        permutation_test(real, fake, 10, seeded(0))


def test_widths_by_draws_of_other_sizes_are_those_that_more_images_have() -> None:
    def widths(num: int, seed: int) -> dict[str, Figure]:
        real, fake = normal(num, 4, seed=seed), 1.3 * normal(num, 4, seed=seed + 1000) + 0.8
        return kid_widths(ImageSet.plain(real), ImageSet.plain(fake), seeded(seed))

    few, many = ([widths(num, seed) for seed in range(8)] for num in (40, 160))

    def mean(found: list[dict[str, Figure]], name: str) -> float:
        return float(np.mean([figures[name].value for figures in found]))

    assert mean(few, "kid_width_both_4") == pytest.approx(mean(many, "kid_width_both_1"), rel=0.15)
    assert mean(many, "kid_width_both_0.25") == pytest.approx(mean(few, "kid_width_both_1"), rel=0.15)
    assert few[0]["kid_width_samples_4"].n == 160
    alone = [mean(few, f"kid_width_samples_{times:g}") for times in (1, 4, 16)]
    assert alone == sorted(alone, reverse=True)
    assert alone[2] > 1.4 * mean(few, "kid_width_both_16")  # the real images that there are set a limit
    assert kid_widths(ImageSet.plain(normal(4, 4)), ImageSet.plain(normal(4, 4)), seeded(0)) == {}


def test_how_many_images_a_width_takes_is_read_off_the_curve() -> None:
    curve = [(10, 2.0), (20, 1.41421356), (40, 1.0), (80, 0.70710678)]
    assert [images_for(curve, width) for width in (3.0, 2.0, 1.0, 0.8164965809, 0.7)] == [
        "at most 10",
        "at most 10",
        "40",
        "60",
        "more than 80",
    ]
