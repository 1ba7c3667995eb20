from __future__ import annotations

import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from mrigen.metrics.distribution import (
    MIN_FID_IMAGES,
    FeatureSums,
    fid,
    frechet_distance,
    frechet_distance_few,
)


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


def both(real: Tensor, fake: Tensor) -> list[float]:
    return [frechet_distance(FeatureSums.of(real), FeatureSums.of(fake)), frechet_distance_few(real, fake)]


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
    real, fake = exact_sample(30, 0 * mean, s1, 4), exact_sample(25, mean, s2, 5)
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


def test_sums_of_parts_are_the_sum_of_the_whole() -> None:
    features = torch.randn(31, 7, generator=torch.Generator().manual_seed(1))
    whole = FeatureSums.of(features)
    parts = FeatureSums.of(features[:4]) + FeatureSums.of(features[4:20]) + FeatureSums.of(features[20:])
    parts = parts + FeatureSums.of(features[:0])
    assert parts.n == whole.n == 31
    torch.testing.assert_close(parts.total, whole.total, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.outer, whole.outer, rtol=1e-12, atol=1e-12)
    other = FeatureSums.of(torch.rand(40, 7))
    assert frechet_distance(parts, other) == pytest.approx(frechet_distance(whole, other), rel=1e-9)


def test_features_that_are_not_finite_are_refused() -> None:
    broken = torch.rand(20, 4)
    broken[3, 2] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        FeatureSums.of(broken)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance_few(torch.rand(20, 4), broken)


def test_too_few_images_give_the_reason() -> None:
    enough, few = torch.rand(MIN_FID_IMAGES, 4), torch.rand(MIN_FID_IMAGES - 1, 4)
    assert fid(enough, enough).value == pytest.approx(0.0, abs=1e-5)
    for figure in (fid(enough, few), fid(few, enough)):
        assert figure.value is None
        assert f"needs {MIN_FID_IMAGES} images" in (figure.reason or "")
    with pytest.raises(ValueError, match="two features"):
        frechet_distance_few(few, few[:1])
    with pytest.raises(ValueError, match="two features"):
        frechet_distance(FeatureSums.of(few[:1]), FeatureSums.of(few))


def test_figure_is_the_same_on_either_side_of_the_switch_between_formulas() -> None:
    d = 16
    real, fake = torch.rand(40, d), torch.rand(d, d)
    assert fid(real, fake).value == pytest.approx(frechet_distance_few(real, fake), rel=1e-6)
    assert fid(real, fake[:-1]).value == pytest.approx(
        frechet_distance(FeatureSums.of(real), FeatureSums.of(fake[:-1])), rel=1e-5
    )
    assert fid(real, fake[:-1]).n == d - 1
