from __future__ import annotations

import numpy as np
import pytest
import torch

from mrigen.metrics.distribution import frechet
from mrigen.metrics.infinity import frechet_infinity
from mrigen.metrics.resampling import ImageSet, owner_sums, owner_weights, seeded

WIDTH, SHIFT = 16, 1.0


def normal(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    features = torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    features[:, 0] += shift
    return features


def test_extrapolation_takes_away_the_bias_of_n() -> None:
    """The true distance of the two normal distributions is SHIFT^2; at 200 images FID lies well above it."""
    plain, far = [], []
    for seed in range(12):
        real, fake = normal(200, seed), normal(200, seed + 100, SHIFT)
        plain.append(frechet(real, fake).value)
        far.append(frechet_infinity(ImageSet.plain(real), ImageSet.plain(fake), seeded(seed)).value)
    bias = np.mean(plain) - SHIFT**2
    assert bias > 0.2
    assert abs(np.mean(far) - SHIFT**2) < 0.25 * bias + 3 * np.std(far) / len(far) ** 0.5


def test_its_interval_holds_the_truth() -> None:
    hits, num, values, widths = 0, 30, [], []
    for seed in range(num):
        real, fake = ImageSet.plain(normal(200, seed)), ImageSet.plain(normal(200, seed + 500, SHIFT))
        found = frechet_infinity(real, fake, seeded(seed))
        draws = np.full(200, found.value)
        for images, slopes in ((real, found.real_slopes), (fake, found.fake_slopes)):
            weights = owner_weights(images.owners, images.strata, 200, seeded(seed, "draws"))
            assert weights is not None
            draws += weights @ owner_sums(slopes, images.owners)
        low, high = np.quantile(draws, [0.025, 0.975])
        hits += low <= SHIFT**2 <= high
        values.append(found.value)
        widths.append(high - low)
    assert hits / num >= 0.85
    assert np.mean(widths) / np.std(values) > 3.0
    assert np.std(found.real_slopes) == pytest.approx(np.std(found.fake_slopes), rel=0.3)


def test_too_few_images_or_subjects_are_refused() -> None:
    few = ImageSet.plain(normal(99, 0))
    with pytest.raises(ValueError, match="needs 100 images on each side, here are 99 real"):
        frechet_infinity(few, few, seeded(0))
    zeros = [0] * 140
    real = ImageSet.of(normal(140, 0), [str(i // 20) for i in range(140)], zeros, zeros)
    with pytest.raises(ValueError, match="needs 8 subjects, here are 7"):
        frechet_infinity(real, ImageSet.plain(normal(140, 1)), seeded(0))
