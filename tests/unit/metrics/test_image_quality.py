from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from mrigen.metrics.image_quality import WANG_BETAS, draw_pairs, ms_ssim, ms_ssim_betas, pairwise_ms_ssim, psnr, ssim


def some_images(n: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_psnr_of_a_constant_difference_is_known() -> None:
    images = some_images(2) * 0.5
    off = images + torch.tensor([0.2, 0.02]).view(2, 1, 1, 1)
    expected = [10 * math.log10(2.0**2 / d**2) for d in (0.2, 0.02)]
    assert psnr(off, images).tolist() == pytest.approx(expected, rel=1e-4)
    assert psnr(images, images).tolist() == [math.inf, math.inf]


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    a, b, c1 = 0.3, 0.8, (0.01 * 2.0) ** 2
    flat = torch.ones(1, 1, 32, 32)
    assert ssim(a * flat, b * flat).tolist() == pytest.approx([(2 * a * b + c1) / (a * a + b * b + c1)], rel=1e-4)
    images = some_images(3, 32)
    assert ssim(images, images).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_every_image_is_measured_by_itself() -> None:
    images, others = some_images(3), some_images(3, seed=1)
    for measure in (psnr, ssim, ms_ssim):
        alone = [float(measure(images[i : i + 1], others[i : i + 1])[0]) for i in range(3)]
        assert measure(images, others).tolist() == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(("size", "scales"), [(16, 2), (32, 2), (64, 3), (128, 4), (160, 4), (176, 5), (256, 5)])
def test_ms_ssim_takes_as_many_scales_as_there_is_room_for(size: int, scales: int) -> None:
    betas = ms_ssim_betas(size)
    assert len(betas) == scales
    assert sum(betas) == pytest.approx(1.0)
    assert betas[1] / betas[0] == pytest.approx(WANG_BETAS[1] / WANG_BETAS[0])
    images = some_images(1, size)
    assert ms_ssim(images, images).tolist() == pytest.approx([1.0], abs=1e-5)
    if scales < 5:
        with pytest.raises(ValueError, match="betas"):
            multiscale_structural_similarity_index_measure(images, images, betas=WANG_BETAS[: scales + 1])


def test_ms_ssim_refuses_an_image_without_room_for_its_window() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ms_ssim_betas(8)


def test_pairs_are_distinct_and_of_different_owners() -> None:
    owners = ["a"] * 4 + ["b"] * 3 + ["c"]
    pairs = draw_pairs(owners, 10, np.random.default_rng(0))
    assert len(pairs) == len({tuple(pair) for pair in pairs.tolist()}) == 10
    assert all(i < j and owners[i] != owners[j] for i, j in pairs)
    assert draw_pairs(owners, 10, np.random.default_rng(0)).tolist() == pairs.tolist()
    assert draw_pairs(owners, 10, np.random.default_rng(1)).tolist() != pairs.tolist()


def test_all_pairs_are_taken_where_there_are_few() -> None:
    owners = ["a", "a", "b", "c"]
    assert draw_pairs(owners, 100, np.random.default_rng(0)).tolist() == [[0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert draw_pairs(["a", "a"], 100, np.random.default_rng(0)).shape == (0, 2)


def test_pairwise_ms_ssim_does_not_depend_on_the_batch() -> None:
    images = some_images(6)
    pairs = draw_pairs(list("abcdef"), 100, np.random.default_rng(0))
    expected = [float(ms_ssim(images[i : i + 1], images[j : j + 1])[0]) for i, j in pairs]
    assert pairwise_ms_ssim(images, pairs, batch_size=4) == pytest.approx(expected, rel=1e-4)
