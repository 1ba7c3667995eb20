from __future__ import annotations

import numpy as np
import pytest
import torch

from mrigen.metrics.precision import Support, squared_distances, support, support_figures
from mrigen.metrics.resampling import ImageSet


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None]


def supported(real: torch.Tensor, fake: torch.Tensor, num_neighbours: int = 5) -> Support:
    pairs = (real, real), (fake, fake), (real, fake)
    return support(*(squared_distances(a, b) for a, b in pairs), num_neighbours)


def test_the_definitions_by_hand() -> None:
    """Real at 0, 1, 2, 10, with k = 1: radii 1, 1, 1, 8. Generated at 0.5, 9, 30: radii 8.5, 8.5, 21.

    0.5 lies in the balls of 0 and 1; 9 in that of 10, at distance 1; 30 in none (20 > 8). The generated ball of 0.5
    holds 0, 1, 2; that of 9 holds 1, 2, 10 (8 and 7 away); that of 30 holds 10.
    """
    found = supported(line(0, 1, 2, 10), line(0.5, 9, 30), 1)
    # 2 lies 1.5 from 0.5 and 7 from 9, outside its own radius of 1; 10 holds 9.
    assert found == Support(precision=2 / 3, recall=1.0, density=(2 + 1 + 0) / 3, coverage=3 / 4)


def test_the_same_images_are_all_covered() -> None:
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    found = supported(x, x)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)
    assert found.density == pytest.approx(1.0 + 1 / 5)  # k neighbours and itself, over k


def test_one_image_over_and_over_is_caught_by_recall_and_coverage() -> None:
    real = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    found = supported(real, real[:1].repeat(60, 1))
    assert found.precision == 1.0
    assert found.recall == pytest.approx(1 / 60)
    assert found.coverage < 0.3


def test_far_away_nothing_is_covered() -> None:
    real = torch.randn(30, 5)
    assert supported(real, real + 1000.0) == Support(0.0, 0.0, 0.0, 0.0)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="more images than 5"):
        supported(torch.rand(20, 2), torch.rand(5, 2))


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    """Subjects of four slices each: a jackknife over images would be too narrow."""
    figures, lows, highs = [], [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        subject = generator.normal(size=(16, 1, 6)) * 0.8
        real = torch.from_numpy((subject + 0.6 * generator.normal(size=(16, 4, 6))).reshape(-1, 6))
        zeros = [0] * 64
        found = support_figures(
            ImageSet.of(real, [str(i // 4) for i in range(64)], zeros, zeros),
            ImageSet.plain(torch.from_numpy(generator.normal(size=(64, 6)) + 0.3)),
        ).values()
        figures.append([figure.value for figure in found])
        lows.append([figure.low for figure in found])
        highs.append([figure.high for figure in found])
    middle = np.mean(figures, axis=0)
    covered = ((np.array(lows) <= middle) & (middle <= np.array(highs))).mean(0)
    assert (covered >= 0.90).all(), covered
    width = (np.array(highs) - np.array(lows)).mean(0) / np.std(figures, axis=0)
    assert (width < 8).all(), width


def test_too_few_subjects_have_no_interval() -> None:
    zeros = [0] * 40
    few = ImageSet.of(torch.rand(40, 3), [str(i % 4) for i in range(40)], zeros, zeros)
    found = support_figures(few, ImageSet.plain(torch.rand(40, 3)))
    assert {figure.interval for figure in found.values()} == {None}
