from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrigen.audit.likeness import FOREGROUND, Shortlist, align, aligned, unit_features, unit_spectrum
from tests.fake_run import SIZE, made_up_image


def image(*key: object) -> torch.Tensor:
    return torch.from_numpy(made_up_image(*key))


def moved(picture: torch.Tensor, x: int, y: int) -> torch.Tensor:
    """Moved by whole pixels; the background is empty at the edges."""
    return torch.roll(picture, (x, y), (0, 1))


@pytest.mark.parametrize("x", [-2, 0, 1])
@pytest.mark.parametrize("y", [-1, 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_moved_mirrored_scaled_copy_is_found_and_laid_back(x: int, y: int, mirrored: bool) -> None:
    real = image("real")
    # What `align` undoes is: mirror, then move.
    copy = moved(real, -x, -y)
    copy = 0.4 * (copy.flip(0) if mirrored else copy) - 0.3
    found = align(copy, torch.stack([image("other"), real]), max_shift=2, mirror=True)
    assert found[1].correlation == pytest.approx(1.0, abs=1e-5)
    assert (found[1].mirrored, found[1].shift) == (mirrored, (x, y))
    assert found[0].correlation < 0.9
    inside = real > FOREGROUND
    assert torch.allclose(aligned(copy, found[1])[inside], (0.4 * real - 0.3)[inside], atol=1e-6)


def test_beyond_the_limit_and_without_mirroring_it_is_not() -> None:
    real = image("real")
    assert align(moved(real, 3, 0), real[None], max_shift=2, mirror=True)[0].correlation < 0.97
    assert align(moved(real, 3, 0), real[None], max_shift=3, mirror=True)[0].correlation > 0.99999
    assert align(real.flip(0), real[None], max_shift=2, mirror=False)[0].correlation < 0.9


def test_the_correlation_is_pearsons_in_the_foreground_of_the_real_image() -> None:
    here, there = image("here"), image("there")
    inside = (there > FOREGROUND).numpy()
    truth = np.corrcoef(here.numpy()[inside], there.numpy()[inside])[0, 1]
    assert align(here, there[None], max_shift=0, mirror=False)[0].correlation == pytest.approx(truth, abs=1e-5)
    best = align(here, there[None], max_shift=1, mirror=False)[0]
    tried = {
        (x, y): np.corrcoef(aligned(here, replace(best, shift=(x, y))).numpy()[inside], there.numpy()[inside])[0, 1]
        for x in (-1, 0, 1)
        for y in (-1, 0, 1)
    }
    assert best.correlation == pytest.approx(max(tried.values()), abs=1e-5)
    assert tried[best.shift] == pytest.approx(best.correlation, abs=1e-5)


def test_without_contrast_or_foreground_there_is_no_likeness() -> None:
    flat, empty = torch.full((SIZE, SIZE), 0.3), torch.full((SIZE, SIZE), -1.0)
    real = image("real")
    few = empty.clone()
    few[10:12, 10:13] = torch.arange(6.0).reshape(2, 3) / 6
    for candidate in (flat, empty, few):
        assert align(real, candidate[None], max_shift=2, mirror=True)[0].correlation == 0.0
    assert align(flat, real[None], max_shift=2, mirror=True)[0].correlation == 0.0


def test_equal_fits_go_to_the_image_as_it_is() -> None:
    real = image("real")
    symmetric = (real + real.flip(0)) / 2
    found = align(symmetric, symmetric[None], max_shift=2, mirror=True)[0]
    assert (found.mirrored, found.shift) == (False, (0, 0))


def test_features_have_unit_length_and_forget_the_mirror() -> None:
    weights = torch.randn(SIZE * SIZE, 5, generator=torch.Generator().manual_seed(0))

    def extract(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ weights

    pictures = torch.stack([image(k) for k in range(3)])[:, None]
    features = unit_features(extract, pictures, mirror=True)
    assert torch.allclose(features.norm(dim=1), torch.ones(3))
    assert torch.equal(features, unit_features(extract, pictures.flip(2), mirror=True))
    assert not torch.allclose(
        unit_features(extract, pictures, mirror=False), unit_features(extract, pictures.flip(2), mirror=False)
    )


def test_the_spectrum_forgets_moves_mirror_brightness_and_contrast() -> None:
    real = image("real")
    changed = 0.5 * moved(real, 2, -1).flip(0) + 0.2
    spectra = unit_spectrum(torch.stack([real, changed, image("other")])[:, None])
    assert float(spectra[0] @ spectra[1]) == pytest.approx(1.0, abs=1e-5)
    assert float(spectra[0] @ spectra[2]) < 0.99


@pytest.mark.parametrize("block", [1, 7, 50])
def test_a_shortlist_in_blocks_is_that_of_the_whole(block: int) -> None:
    generator = np.random.default_rng(0)
    queries = torch.from_numpy(generator.integers(-2, 3, (4, 3)).astype(np.float32))  # many ties
    references = torch.from_numpy(generator.integers(-2, 3, (50, 3)).astype(np.float32))
    allowed = torch.from_numpy(generator.random((4, 50)) < 0.8)
    found = Shortlist.empty(4, 6)
    for start in range(0, 50, block):
        part = slice(start, start + block)
        found = found.extended(queries, references[part], allowed[:, part])
    cosines = (queries @ references.T).numpy()
    for i in range(4):
        ranked = sorted((k for k in range(50) if allowed[i, k]), key=lambda k: (-cosines[i, k], k))
        assert found.places[i].tolist() == ranked[:6]


def test_a_shortlist_holds_no_more_than_there_is() -> None:
    allowed = torch.tensor([[True, False]])
    found = Shortlist.empty(1, 3).extended(torch.ones(1, 2), torch.ones(2, 2), allowed)
    assert found.places.tolist() == [[0, -1, -1]]
