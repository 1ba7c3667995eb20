"""Textures: the noise itself where the spectrum is flat, any spectrum where it is not, learned by likelihood."""

from __future__ import annotations

import pytest
import torch

from mrigen.config import load_config
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.texture import NUM_BANDS, texture, texture_loss, transformed


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_with_all_variances_one_noise_stays_as_it_is():
    noise = normal(2, 1, 16, 16)
    flat = torch.full((2, NUM_BANDS, 16, 16), 0.0)
    assert torch.allclose(texture(flat, noise)[..., 2:-2, 2:-2], noise[..., 2:-2, 2:-2], atol=1e-5)


def test_each_pixel_has_its_own_strength():
    logvar = torch.full((1, NUM_BANDS, 64, 64), -40.0)
    logvar[..., 32:] = 2 * torch.log(torch.tensor(0.1))
    drawn = texture(logvar, normal(1, 1, 64, 64))
    assert float(drawn[..., :30].std()) < 0.0015
    assert float(drawn[..., 34:].std()) == pytest.approx(0.1, rel=0.05)


def test_the_likeliest_spectrum_makes_noise_of_the_same_grain():
    white = normal(1, 1, 258, 258) * 0.1
    grain = torch.nn.functional.avg_pool2d(white, 3, stride=1) + 0.05 * normal(1, 1, 256, 256).flip(3)
    spectrum = torch.full((NUM_BANDS, 1, 1), -4.0, requires_grad=True)
    optimizer = torch.optim.Adam([spectrum], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        texture_loss(spectrum.expand(1, NUM_BANDS, 256, 256), grain).backward()
        optimizer.step()
    measured = transformed(grain).square().mean(dim=(0, 2, 3))
    assert torch.allclose(spectrum.detach().exp().flatten(), measured, rtol=0.05)
    drawn = texture(spectrum.detach().expand(1, NUM_BANDS, 256, 256), normal(1, 1, 256, 256).flip(2))
    assert float(drawn.std()) == pytest.approx(float(grain.std()), rel=0.1)
    again = transformed(drawn).square().mean(dim=(0, 2, 3))
    assert float(again[0] / again[8]) == pytest.approx(float(measured[0] / measured[8]), rel=0.5)


def test_textures_are_drawn_by_the_noise_and_teach_the_mean_nothing():
    torch.manual_seed(0)
    model = Autoencoder.build(
        load_config("tiny", overrides=["autoencoder.network=conv", "autoencoder.block_channels=[8, 16, 16]"])
    )
    latents, noise = normal(1, 4, 8, 8), normal(1, 1, 64, 64)
    assert torch.equal(model.decode(latents, noise), model.decode(latents, noise))
    assert not torch.equal(model.decode(latents, noise), model.decode(latents, noise.flip(3)))
    decoded = model.decoded(latents)
    texture_loss(decoded.logvar, noise).backward()
    assert all(weights.grad is None for weights in model.vae.decoder.parameters())
    assert all(weights.grad is not None for weights in model.vae.to_texture.parameters())
