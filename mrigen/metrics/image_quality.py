"""PSNR, SSIM and MS-SSIM of images (B, 1, S, S) in [-1, 1], image by image, by torchmetrics."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

DATA_RANGE = 2.0
"""Width of [-1, 1]."""

WANG_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales, finest first (Wang, Simoncelli and Bovik 2003)."""

MIN_SIDE = 11
"""Pixels a side that SSIM's window needs."""


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (B,); infinite for equal images."""
    return cast(
        Tensor,
        peak_signal_noise_ratio(images, references, data_range=DATA_RANGE, dim=(1, 2, 3), reduction="none"),
    )


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """Structural similarity of each image with its reference, (B,), at most 1 (Wang et al. 2004)."""
    similarity = structural_similarity_index_measure(images, references, data_range=DATA_RANGE, reduction="none")
    return cast(Tensor, similarity).reshape(-1)


def ms_ssim_betas(size: int) -> tuple[float, ...]:
    """The weights of as many scales as an image of `size` pixels a side has room for, made to sum to 1.

    Five scales need more than 160 pixels; at 64 there are three. Figures of different numbers of scales
    do not compare. Raises ValueError below 11 pixels.
    """
    fitting = [m for m in range(1, 6) if size // max(1, m - 1) ** 2 >= MIN_SIDE and size >= 2**m]
    if not fitting:
        raise ValueError(f"MS-SSIM needs images of at least {MIN_SIDE} pixels a side, got {size}")
    betas = WANG_BETAS[: max(fitting)]
    return tuple(beta / sum(betas) for beta in betas)


def ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    """Multi-scale structural similarity of each pair, (B,), in [0, 1]; negative terms count as 0."""
    betas = ms_ssim_betas(min(images.shape[-2:]))
    similarity = multiscale_structural_similarity_index_measure(
        images, others, data_range=DATA_RANGE, betas=betas, normalize="relu", reduction="none"
    )
    return cast(Tensor, similarity).reshape(-1)


def draw_pairs(
    owners: list[str], num_pairs: int, generator: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `num_pairs` distinct pairs of rows whose owners (subjects) differ, (pairs, 2), drawn at random.

    Two slices of one subject are alike for reasons that have nothing to do with diversity. All pairs are
    taken where there are no more than asked for.
    """
    _, codes = np.unique(np.asarray(owners, dtype=object).astype(str), return_inverse=True)
    first, second = np.triu_indices(len(owners), k=1)
    differ = codes[first] != codes[second]
    pairs = np.stack([first[differ], second[differ]], axis=1).astype(np.int64)
    if len(pairs) > num_pairs:
        pairs = pairs[np.sort(generator.choice(len(pairs), num_pairs, replace=False))]
    return pairs


def pairwise_ms_ssim(
    images: Tensor, pairs: np.ndarray[Any, np.dtype[np.int64]], *, batch_size: int = 64
) -> list[float]:
    """MS-SSIM of every pair of rows of `images` (N, 1, S, S)."""
    values: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(pairs), batch_size):
            some = torch.from_numpy(pairs[start : start + batch_size])
            values += ms_ssim(images[some[:, 0]], images[some[:, 1]]).tolist()
    return values
