"""The noise of reconstructions: drawn by what it is given, of the strength that the images lack, and only in tissue."""

from __future__ import annotations

import pytest
import torch

from mrigen.config import load_config
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.texture import texture, texture_loss

CONV = load_config("tiny", overrides=["autoencoder.network=conv", "autoencoder.block_channels=[8, 16, 16]"])
SHAPE = (4, 1, 64, 64)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_pixel_has_its_own_strength_and_the_background_none():
    logvar = torch.full(SHAPE, 2 * torch.log(torch.tensor(0.02)))
    logvar[..., 32:] = 2 * torch.log(torch.tensor(0.1))
    mean = torch.zeros(SHAPE)
    mean[:, :, 32:] = -1.0
    drawn = texture(logvar, mean, normal(0, *SHAPE))
    assert float(drawn[:, :, :32, :32].std()) == pytest.approx(0.02, rel=0.05)
    assert float(drawn[:, :, :32, 32:].std()) == pytest.approx(0.1, rel=0.05)
    assert float(drawn[:, :, 32:].abs().max()) == 0.0


def test_what_is_nearly_as_dark_as_the_background_is_background_and_nothing_else_changes():
    model = Autoencoder.build(CONV).eval()
    latents, noise = 3.0 * normal(4, 4, 4, 8, 8), normal(5, *SHAPE)
    with torch.no_grad():
        model.vae.decoder[-2].weight.mul_(30.0)  # the whole range, and beyond it
        drawn, decoded = model.decoded(latents).textured(noise), model.decode(latents, noise)
    dark = drawn < -0.95
    assert ((drawn > -1.0) & dark).any()
    assert (decoded[dark] == -1.0).all()
    assert torch.equal(decoded[~dark], drawn[~dark])


def test_the_least_loss_is_at_the_strength_that_the_mean_lacks_edges_or_not():
    edges = 0.8 * torch.sign(torch.sin(torch.arange(64) / 5.0)).expand(SHAPE)
    images, mean = edges + 0.05 * normal(1, *SHAPE), 0.95 * edges
    logvar = torch.tensor(-9.0, requires_grad=True)
    optimizer = torch.optim.Adam([logvar], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        texture_loss(logvar.expand(SHAPE), mean, images).backward()
        optimizer.step()
    assert float((0.5 * logvar.detach()).exp()) == pytest.approx(0.05, rel=0.1)
    residual = float((images - mean).std())
    assert residual > 1.2 * 0.05  # which is what a likelihood would have given


def test_noise_is_drawn_by_what_is_given_and_teaches_the_mean_nothing():
    torch.manual_seed(0)
    model = Autoencoder.build(CONV)
    latents, noise = normal(2, 1, 4, 8, 8), normal(3, 1, 1, 64, 64)
    assert torch.equal(model.decode(latents, noise), model.decode(latents, noise))
    assert not torch.equal(model.decode(latents, noise), model.decode(latents, noise.flip(3)))
    decoded = model.decoded(latents)
    texture_loss(decoded.logvar, decoded.mean.detach(), noise).backward()
    assert all(weights.grad is None for weights in model.vae.decoder.parameters())
    assert all(weights.grad is not None for weights in model.vae.texture.parameters())
