"""Solvers against the exact probability flow of a Gaussian and against diffusers; seeds and noise."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from mrigen.config import DiffusionConfig
from mrigen.diffusion.process import NoiseSchedule
from mrigen.diffusion.sampling import guided, sample_noise, sampling_timesteps, solve
from mrigen.diffusion.solvers import SOLVERS
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.samples import sample_seed, seed_fraction

MEAN, STD = 0.7, 0.4
SCHEDULE = NoiseSchedule.build(DiffusionConfig())


def gaussian_v(latents: torch.Tensor, timestep: int) -> torch.Tensor:
    """The exact v where clean latents are N(MEAN, STD^2): from the posterior mean of a Gaussian."""
    alpha, sigma = SCHEDULE.alpha[timestep], SCHEDULE.sigma[timestep]
    x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (latents - alpha * MEAN)
    return (alpha * latents - x0) / sigma


def gaussian_end(noise: torch.Tensor) -> torch.Tensor:
    """Where the probability flow carries `noise`: the same quantile of the clean Gaussian."""
    alpha, sigma = SCHEDULE.alpha[-1], SCHEDULE.sigma[-1]
    return MEAN + STD * (noise - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2).sqrt()


def spread(solver: str, num_steps: int) -> tuple[float, float]:
    """Exact mean and standard deviation of what the solver draws: it is linear in the noise of every step, so the
    variance is the sum of the squares of what each brings alone; row k has noise 1 in step k, the last row has none."""
    rows = torch.eye(num_steps + 2, num_steps + 1, dtype=torch.float64)
    ends = solve(solver, gaussian_v, lambda step: rows[:, step, None], SCHEDULE, num_steps)[:, 0]
    return float(ends[-1]), float((ends[:-1] - ends[-1]).square().sum().sqrt())


def solver_error(solver: str, num_steps: int) -> float:
    """Of the end points; of a solver with noise of its own, of their spread."""
    if SOLVERS[solver].stochastic:
        return abs(spread(solver, num_steps)[1] - STD)
    noise = torch.linspace(-2, 2, 64, dtype=torch.float64).view(64, 1, 1, 1)
    return float((solve(solver, gaussian_v, lambda _: noise, SCHEDULE, num_steps) - gaussian_end(noise)).abs().max())


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_is_of_the_order_that_it_claims(solver):
    order = math.log(solver_error(solver, 20) / solver_error(solver, 320), 320 / 20)
    assert order == pytest.approx(SOLVERS[solver].order, rel=0.2)


@pytest.mark.parametrize("solver", [name for name, solver in SOLVERS.items() if solver.stochastic])
def test_noise_of_its_own_leaves_the_mean_where_it_is(solver):
    assert spread(solver, 100)[0] == pytest.approx(MEAN, abs=0.01)


def test_the_multistep_solver_is_the_better_one_at_few_steps():
    assert solver_error("dpmpp-2m", 20) < solver_error("ddim", 20) / 5


COMMON = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
          "timestep_spacing": "trailing"}  # fmt: skip
ORACLES = {
    "ddim": DDIMScheduler(**COMMON, clip_sample=False),
    "dpmpp-2m": DPMSolverMultistepScheduler(**COMMON, lower_order_final=True, final_sigmas_type="zero"),
    "ddpm": DDIMScheduler(**COMMON, clip_sample=False),
}
"""diffusers' scheduler of each solver."""


@pytest.mark.parametrize("num_steps", [1, 2, 8, 20])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_walk_as_diffusers_does(solver, num_steps):
    def noise(step: int) -> torch.Tensor:
        return sample_noise(range(4), (2, 4, 4), step)

    def predict_v(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        return 0.5 * torch.sin(latents) + timestep / 2000

    oracle = ORACLES[solver]
    oracle.set_timesteps(num_steps)
    expected = noise(0)
    for step, timestep in enumerate(oracle.timesteps, start=1):
        own = {"eta": 1.0, "variance_noise": noise(step)} if SOLVERS[solver].stochastic else {}
        expected = oracle.step(predict_v(expected, int(timestep)), timestep, expected, **own).prev_sample
    assert sampling_timesteps(1000, num_steps) == oracle.timesteps.tolist()
    found = solve(solver, predict_v, noise, SCHEDULE, num_steps)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(num_steps):
    with pytest.raises(ValueError, match=f"num_steps {num_steps} must lie between 1 and 1000"):
        sampling_timesteps(1000, num_steps)


def test_guidance_of_one_is_the_conditional_and_of_zero_the_unconditional():
    conditional, null = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    mixed = guided(null, [(torch.tensor([1.0, 0.0, 3.0]), conditional)])
    torch.testing.assert_close(mixed[0], conditional[0])
    torch.testing.assert_close(mixed[1], null[1])
    torch.testing.assert_close(mixed[2], 3 * conditional[2] - 2 * null[2])


def test_composed_guidance_draws_from_the_product_of_its_conditions():
    # Of Gaussians of one spread, p(x | a) p(x | b) / p(x) has the mean a + b - null.
    def predict(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        alpha, sigma = SCHEDULE.alpha[timestep], SCHEDULE.sigma[timestep]
        slope = sigma / (alpha**2 * STD**2 + sigma**2)  # of v, by how far the mean of the clean latents moves
        null, one = gaussian_v(latents, timestep), torch.ones(1)
        return guided(null, [(one, null - 0.5 * slope), (one, null - 0.2 * slope)])

    noise = torch.linspace(-2, 2, 64, dtype=torch.float64).view(64, 1, 1, 1)
    ends = solve("dpmpp-2m", predict, lambda _: noise, SCHEDULE, 200)
    torch.testing.assert_close(ends, gaussian_end(noise) + 0.7, atol=1e-3, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_keep_their_order_on_the_straight_path(solver):
    schedule = NoiseSchedule.build(DiffusionConfig(schedule="linear", prediction="flow"))

    def flow(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        alpha, sigma = schedule.alpha[timestep], schedule.sigma[timestep]
        x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (latents - alpha * MEAN)
        return (latents - x0) / sigma

    def error(num_steps: int) -> float:
        rows = torch.eye(num_steps + 2, num_steps + 1, dtype=torch.float64)
        ends = solve(solver, flow, lambda step: rows[:, step, None], schedule, num_steps, "flow")[:, 0]
        spread = (ends[:-1] - ends[-1]).square().sum().sqrt() if SOLVERS[solver].stochastic else ends[0] - ends[-1]
        return abs(float(spread) - STD)

    # Its first step comes from pure noise, where a step of higher order has nothing to extrapolate.
    assert math.log(error(20) / error(320), 16) > 0.7 * SOLVERS[solver].order


def test_seeds_differ_in_every_cell_index_and_request():
    seeds = {sample_seed(seed, cell, k) for seed in range(3) for cell in all_cells() for k in range(50)}
    assert len(seeds) == 3 * 20 * 50
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_seed_is_what_it_was_in_the_first_release():
    assert sample_seed(0, Cell(Pathology.GLIOBLASTOMA, Modality.FLAIR), 7) == 0x36BE6A5305F369E5


def test_all_64_bits_of_a_seed_count():
    low, high = sample_noise([5, 5 + 2**32], (2, 4, 4))
    assert not torch.equal(low, high)


def test_noise_is_standard_normal_and_a_row_its_own():
    noise = sample_noise(range(200), (4, 8, 8))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    assert torch.equal(noise[17], sample_noise([17], (4, 8, 8))[0])


def test_the_noise_of_a_step_is_its_own():
    steps = torch.stack([sample_noise(range(50), (400,), step) for step in (0, 1, 2)]).flatten(1)
    torch.testing.assert_close(torch.corrcoef(steps), torch.eye(3), atol=0.03, rtol=0)


def test_the_fraction_of_a_seed_is_uniform():
    fractions = torch.tensor([seed_fraction(seed) for seed in range(2000)], dtype=torch.float64)
    histogram = torch.histc(fractions, 10, 0, 1)
    assert float(((histogram - 200) ** 2 / 200).sum()) < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_noise_is_what_it_was_in_the_first_release():
    assert sample_noise([7], (3,))[0].tolist() == pytest.approx([-0.2933390, 1.7038306, 1.5391918], abs=1e-6)
