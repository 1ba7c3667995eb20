"""The forward process against diffusers' schedulers and against its own identities."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from scipy.stats import kstest

from mrigen.config import DiffusionConfig
from mrigen.diffusion.process import PREDICTIONS, NoiseSchedule, add_noise, loss_weight, training_timesteps

OBJECTIVES = [
    DiffusionConfig(),
    DiffusionConfig(schedule="scaled_linear", prediction="epsilon"),
    DiffusionConfig(schedule="linear", prediction="flow"),
]


@pytest.mark.parametrize(("ours", "theirs"), [("cosine", "squaredcos_cap_v2"), ("scaled_linear", "scaled_linear")])
def test_noise_levels_are_those_of_diffusers(ours, theirs):
    schedule = NoiseSchedule.build(DiffusionConfig(schedule=ours))
    oracle = DDPMScheduler(1000, beta_start=0.00085, beta_end=0.012, beta_schedule=theirs)
    torch.testing.assert_close(schedule.alpha.square().float(), oracle.alphas_cumprod, rtol=1e-4, atol=1e-6)


def test_noise_levels_preserve_variance_and_fall():
    schedule = NoiseSchedule.build(DiffusionConfig())
    torch.testing.assert_close(schedule.alpha**2 + schedule.sigma**2, torch.ones(1000, dtype=torch.float64))
    assert (schedule.alpha.diff() < 0).all()
    assert schedule.alpha[0] > 0.999
    assert schedule.alpha[-1] < 1e-3


def test_noise_and_velocity_are_those_of_diffusers():
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 6, 3, 4, 4, generator=generator)
    timesteps = torch.tensor([0, 1, 10, 300, 700, 999])
    oracle = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    alpha, sigma = NoiseSchedule.build(DiffusionConfig()).at(timesteps, x0)
    noisy, v = add_noise(x0, noise, alpha, sigma), PREDICTIONS["v"].target(x0, noise, alpha, sigma)
    torch.testing.assert_close(noisy, oracle.add_noise(x0, noise, timesteps), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(v, oracle.get_velocity(x0, noise, timesteps), rtol=1e-4, atol=1e-4)


def test_the_straight_path_is_that_of_diffusers():
    schedule = NoiseSchedule.build(DiffusionConfig(schedule="linear", prediction="flow"))
    oracle = FlowMatchEulerDiscreteScheduler(1000)
    torch.testing.assert_close(schedule.sigma.flip(0).float(), oracle.sigmas)
    torch.testing.assert_close(schedule.alpha + schedule.sigma, torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("config", OBJECTIVES, ids=lambda config: config.prediction)
def test_the_true_answer_gives_back_the_clean_latent_and_an_error_moves_it_by_the_slope(config):
    x0, noise, error = torch.randn(3, 5, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alpha, sigma = NoiseSchedule.build(config).at(torch.tensor([0, 100, 500, 900, 999]), x0)
    noisy, chosen = add_noise(x0, noise, alpha, sigma), PREDICTIONS[config.prediction]
    answer = chosen.target(x0, noise, alpha, sigma)
    torch.testing.assert_close(chosen.clean(noisy, answer, alpha, sigma), x0)
    moved = chosen.clean(noisy, answer + error, alpha, sigma)
    torch.testing.assert_close((moved - x0).abs(), chosen.slope(alpha, sigma) * error.abs())
    # so that min-SNR weighs the squared error of the clean latent by min(SNR, gamma), whatever is predicted
    weighed = loss_weight(alpha, sigma, config) * error.square()
    snr = (alpha / sigma).square()
    torch.testing.assert_close(weighed, snr.clamp(max=5.0) * (moved - x0).square())


def test_without_gamma_every_error_weighs_the_same():
    alpha = torch.tensor([0.1, 0.9])
    assert torch.equal(loss_weight(alpha, 1 - alpha, DiffusionConfig(min_snr_gamma=None)), torch.ones(2))


def test_logit_normal_timesteps_are_distributed_so():
    config = DiffusionConfig(timesteps="logit_normal")
    fraction = (torch.arange(20000) + 0.5) / 20000
    timesteps = training_timesteps(fraction, config).double() / 1000
    assert kstest(torch.logit(timesteps.clamp(1e-4, 1 - 1e-4)).numpy(), "norm").statistic < 0.01
    assert training_timesteps(torch.tensor([0.0]), config).item() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prediction": "flow"}, "prediction flow and schedule cosine do not go together"),
        ({"schedule": "linear"}, "prediction v and schedule linear do not go together"),
        ({"prediction": "epsilon"}, "prediction epsilon needs schedule scaled_linear, not cosine"),
    ],
)
def test_objectives_that_do_not_fit_their_schedule_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DiffusionConfig(**settings)
