"""The autoencoder's interface, its divergence in closed form, and its losses."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from mrigen.config import AutoencoderConfig, load_config
from mrigen.errors import InputError
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.codec import Posterior
from mrigen.models.denoiser import Denoiser
from mrigen.models.losses import autoencoder_loss, gradient_error


def test_shapes_and_the_mean_of_no_noise():
    config = load_config("tiny")
    model = Autoencoder.build(config).eval()
    images = torch.rand(2, 1, 64, 64) * 2 - 1
    posterior = model.encode(images)
    assert posterior.mean.shape == posterior.logvar.shape == (2, 4, 8, 8)
    reconstruction, _ = model(images, torch.zeros(2, 4, 8, 8))
    assert reconstruction.shape == images.shape
    torch.testing.assert_close(reconstruction, model.decode(posterior.mean))


def test_divergence_is_the_closed_form():
    mean, logvar = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(Posterior(mean, logvar).kl(), expected)


def test_posterior_draws_have_its_mean_and_spread():
    posterior = Posterior(torch.full((1, 1, 100, 100), 2.0), torch.full((1, 1, 100, 100), -2.0))
    draw = posterior.sample(torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(0)))
    assert abs(float(draw.mean()) - 2.0) < 0.02
    assert abs(float(draw.std()) - torch.exp(torch.tensor(-1.0))) < 0.02


def test_gradient_error_sees_edges_and_not_offsets():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert float(gradient_error(ramp, ramp + 3)) == 0.0
    # Along the last axis the slope differs by 1 everywhere, along the other not at all.
    assert float(gradient_error(2 * ramp, ramp)) == 0.5


def test_a_perfect_reconstruction_costs_only_its_divergence():
    images = torch.rand(2, 1, 16, 16)
    posterior = Posterior(torch.ones(2, 4, 2, 2), torch.zeros(2, 4, 2, 2))
    terms = autoencoder_loss(images, images, posterior, AutoencoderConfig(kl_weight=0.25))
    assert float(terms["loss"]) == 0.25 * 0.5


def test_the_digest_is_that_of_the_weights():
    first, second = (Autoencoder.build(load_config("tiny")) for _ in range(2))
    assert first.digest() != second.digest()
    second.load_state_dict(first.state_dict())
    assert first.digest() == second.digest()


@pytest.mark.parametrize("network", [Autoencoder, Denoiser])
def test_volumes_are_refused_by_the_networks(network):
    with pytest.raises(InputError, match=r"data\.spatial_dims is 3: the networks take 2-D slices so far"):
        network.build(load_config("tiny", overrides=["data.spatial_dims=3"]))
