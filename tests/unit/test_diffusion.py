"""The forward process against diffusers' schedulers and against its own identities."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from mrigen.config import DiffusionConfig
from mrigen.diffusion import NoiseSchedule, add_noise, denoised, min_snr_weight, velocity


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
    schedule = NoiseSchedule.build(DiffusionConfig())
    oracle = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    alpha, sigma = schedule.at(timesteps, x0)
    torch.testing.assert_close(
        add_noise(x0, noise, alpha, sigma), oracle.add_noise(x0, noise, timesteps), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        velocity(x0, noise, alpha, sigma), oracle.get_velocity(x0, noise, timesteps), rtol=1e-4, atol=1e-4
    )


def test_the_true_velocity_gives_back_the_clean_latent():
    x0, noise = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alpha, sigma = NoiseSchedule.build(DiffusionConfig()).at(torch.tensor([0, 100, 500, 900, 999]), x0)
    noisy = add_noise(x0, noise, alpha, sigma)
    torch.testing.assert_close(denoised(noisy, velocity(x0, noise, alpha, sigma), alpha, sigma), x0)


def test_min_snr_weight_turns_the_error_of_v_into_a_clipped_error_of_x0():
    alpha = torch.tensor([0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    sigma = (1 - alpha**2).sqrt()
    snr = (alpha / sigma) ** 2
    # The squared error of x0 is sigma^2 that of v, so min(SNR, gamma) on x0 is min(SNR, gamma) * sigma^2 on v.
    torch.testing.assert_close(min_snr_weight(alpha, sigma, 5.0), snr.clamp(max=5.0) * sigma**2)
    torch.testing.assert_close(min_snr_weight(alpha, sigma, None), torch.ones_like(alpha))
