from __future__ import annotations

import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from mrigen.metrics.distribution import BLOCK, Frechet, by_covariances, by_inner_products, frechet


def exact_sample(n: int, mean: Tensor, covariance: Tensor, seed: int) -> Tensor:
    """n points (n, D) whose own mean and covariance are exactly those given."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, len(mean), generator=generator, dtype=torch.float64)
    noise -= noise.mean(0)
    white = noise @ torch.linalg.inv(torch.linalg.cholesky(noise.T.cov())).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def some_covariance(d: int, seed: int) -> Tensor:
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T / d + 0.1 * torch.eye(d, dtype=torch.float64)


def ways(real: Tensor, fake: Tensor) -> list[Frechet]:
    return [by_covariances(real.double(), fake.double()), by_inner_products(real.double(), fake.double())]


def both(real: Tensor, fake: Tensor) -> list[float]:
    return [found.value for found in ways(real, fake)]


def test_closed_form_for_diagonal_gaussians() -> None:
    a, b = torch.tensor([1.0, 4.0, 0.25]).double(), torch.tensor([9.0, 1.0, 0.25]).double()
    mean = torch.tensor([1.0, -2.0, 3.0]).double()
    real = exact_sample(50, torch.zeros(3).double(), torch.diag(a), 0)
    fake = exact_sample(40, mean, torch.diag(b), 1)
    expected = float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert both(real, fake) == pytest.approx([expected, expected], rel=1e-9)


def test_closed_form_for_gaussians_whose_covariances_do_not_commute() -> None:
    s1, s2 = some_covariance(6, 2), some_covariance(6, 3)
    mean = torch.arange(6).double()
    root = scipy.linalg.sqrtm((s1 @ s2).numpy()).real
    expected = float(mean.square().sum() + s1.trace() + s2.trace()) - 2 * float(root.trace())
    real, fake = exact_sample(2 * BLOCK + 3, 0 * mean, s1, 4), exact_sample(25, mean, s2, 5)
    assert both(real, fake) == pytest.approx([expected, expected], rel=1e-9)


def test_no_distance_to_itself_and_the_same_both_ways() -> None:
    x, y = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.rand(30, 5)
    assert both(x, x) == pytest.approx([0.0, 0.0], abs=1e-6)
    assert both(x, y) == pytest.approx(both(y, x), rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(12, 40), (100, 8)])
def test_agrees_with_torchmetrics_fed_with_images(n: int, d: int) -> None:
    class Flatten(nn.Module):
        num_features = d

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    generator = torch.Generator().manual_seed(n)
    real = torch.rand(n, 1, 2, d // 2, generator=generator, dtype=torch.float64)
    fake = torch.rand(n + 3, 1, 2, d // 2, generator=generator, dtype=torch.float64) ** 2
    metric = FrechetInceptionDistance(feature=Flatten())
    metric.update(real, real=True)
    metric.update(fake, real=False)
    expected = float(metric.compute())
    # torchmetrics takes roots of eigenvalues that ought to be 0 where N < D, hence the tolerance
    assert both(real.flatten(1), fake.flatten(1)) == pytest.approx([expected, expected], rel=1e-6)


def test_features_that_are_not_finite_are_refused() -> None:
    broken = torch.rand(20, 4)
    broken[3, 2] = torch.nan
    for pair in ((torch.rand(20, 4), broken), (broken, torch.rand(3, 4))):
        with pytest.raises(ValueError, match="not finite"):
            frechet(*pair)


def test_one_image_has_no_distance() -> None:
    with pytest.raises(ValueError, match="two features"):
        frechet(torch.rand(9, 4), torch.rand(1, 4))


def weighted_distance(real: Tensor, fake: Tensor, weights: Tensor) -> float:
    """The distance where image i of the real set counts `weights[i]` times."""
    share = weights / weights.sum()
    mean = share @ real
    centred = real - mean
    covariance = (centred * share[:, None]).T @ centred * len(real) / (len(real) - 1)
    other = fake.T.cov()
    root = torch.from_numpy(scipy.linalg.sqrtm((covariance @ other).numpy()).real)
    shift = (mean - fake.mean(0)).square().sum()
    return float(shift + covariance.trace() + other.trace() - 2 * root.trace())


@pytest.mark.parametrize("n", [60, 14])
def test_slopes_are_the_derivatives_by_the_weight_of_an_image(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    real = torch.randn(n, 12, generator=generator, dtype=torch.float64)
    fake = torch.randn(n + 5, 12, generator=generator, dtype=torch.float64) * 1.3 + 0.2
    for found in ways(real, fake):
        assert found.real_slopes.sum() == pytest.approx(0.0, abs=1e-9)
        for image in (0, 5):
            weights, step = torch.ones(n, dtype=torch.float64), 1e-4
            weights[image] += step
            up = weighted_distance(real, fake, weights)
            weights[image] -= 2 * step
            down = weighted_distance(real, fake, weights)
            assert found.real_slopes[image] == pytest.approx((up - down) / (2 * step), rel=1e-3, abs=1e-5)
    swapped = frechet(fake, real)
    assert swapped.fake_slopes == pytest.approx(frechet(real, fake).real_slopes, rel=1e-6, abs=1e-9)
