"""What a row is given, by any number of workers; and the loss of exact denoisers, which is the least there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

from mrigen.config import Config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.each import one_by_one
from mrigen.labels import all_cells
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.models.latent_space import LatentStatistics
from mrigen.models.losses import AutoencoderObjective
from mrigen.records import pack_mask
from mrigen.run import finish
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.latents import read_statistics
from mrigen.training.ldm import validation_losses
from mrigen.training.objective import Draw, denoiser_loss
from mrigen.training.places import Places
from mrigen.training.rows import TrainingRows
from mrigen.training.vae import AutoencoderBatch, crop_corners, cropped
from tests.fake_run import SIZE, tiny_config, write_autoencoder, write_data

CONFIG = tiny_config()
SCHEDULE = NoiseSchedule.build(CONFIG.diffusion)
BATCH = 8


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Location:
    folder = tmp_path_factory.mktemp("run")
    write_data(folder, all_cells()[:4], {"train": 2})
    write_autoencoder(folder / "vae", CONFIG)
    run = Location.parse(folder)
    finish(run, CONFIG, "vae")
    encode_run(run, CONFIG, one_by_one)
    return run


@pytest.fixture
def latents(run: Location, tmp_path: Path) -> TrainingRows:
    return TrainingRows(run / "latents", "train", ["mean", "logvar"], tmp_path)


def draw_of(latents: TrainingRows, run: Location, places: Places, config: Config = CONFIG) -> Draw:
    return Draw.of(latents, places.rows(latents.order()), places, config, read_statistics(run / "latents"))


def assert_gradients_add_up(model: nn.Module, loss_of_rank: Callable[[int, int], Tensor]) -> None:
    """The mean over ranks of loss and gradients is that of one worker, for 2 and 4 of them."""

    def mean_over(world: int) -> list[Tensor]:
        model.zero_grad()
        losses = [loss_of_rank(rank, world) / world for rank in range(world)]
        torch.stack(losses).sum().backward()
        return [sum(losses).detach(), *(parameter.grad.clone() for parameter in model.parameters())]

    alone = mean_over(1)
    assert all(float(gradient.abs().max()) > 0 for gradient in alone)
    for world in (2, 4):
        torch.testing.assert_close(mean_over(world), alone, rtol=1e-4, atol=1e-5)


def test_a_row_draws_the_same_in_any_worker_and_the_gradients_add_up(run, latents):
    torch.manual_seed(0)
    model = Denoiser.build(CONFIG)
    for parameter in model.parameters():  # some start at zero, and block gradients
        nn.init.normal_(parameter, std=0.05)
    alone = draw_of(latents, run, Places.of_rank(0, 1, BATCH, 3, 1))

    def loss_of_rank(rank: int, world: int) -> Tensor:
        draw = draw_of(latents, run, Places.of_rank(rank, world, BATCH, 3, 1))
        for name in ("x0", "noise", "timesteps"):
            assert torch.equal(getattr(draw, name), getattr(alone, name)[rank::world])
        expected = alone.conditions[slice(rank, None, world)].values
        torch.testing.assert_close(draw.conditions.values, expected, rtol=0, atol=0, equal_nan=True)
        return denoiser_loss(model, draw, SCHEDULE, CONFIG)

    assert_gradients_add_up(model, loss_of_rank)


AUTOENCODERS = [
    CONFIG,
    tiny_config(
        "autoencoder.network=conv",
        "autoencoder.block_channels=[8, 16, 16]",
        "autoencoder.crop_size=16",
        "autoencoder.adversarial_weight=0.5",
        "autoencoder.lesion_weight=3",
        "autoencoder.latent_noise=0.5",
        "autoencoder.perceptual_weight=1",
    ),
]


@pytest.mark.parametrize("config", AUTOENCODERS, ids=["plain", "crops, lesions, features and a discriminator"])
def test_an_image_and_its_noise_are_the_same_in_any_worker_and_the_gradients_add_up(run, tmp_path, config):
    torch.manual_seed(0)
    objective = AutoencoderObjective(Autoencoder.build(config), config.autoencoder)
    if config.autoencoder.network == "conv":  # its residual blocks start at zero, and block gradients
        for parameter in objective.parameters():
            nn.init.normal_(parameter, std=0.1)
    rows = TrainingRows(run / "data", "train", ["image", "lesions"], tmp_path)

    def batch_of_rank(rank: int, world: int) -> AutoencoderBatch:
        places = Places.of_rank(rank, world, BATCH, 3, 1)
        return AutoencoderBatch.of(rows, places.rows(rows.order()), places, config)

    alone = batch_of_rank(0, 1)
    assert alone.images.shape[-1] == (config.autoencoder.crop_size or SIZE)

    def loss_of_rank(rank: int, world: int) -> Tensor:
        batch = batch_of_rank(rank, world)
        for name in ("images", "noise", "levels", "texture_noise", "lesions"):
            if (whole := getattr(alone, name)) is not None:
                assert torch.equal(getattr(batch, name), whole[rank::world])
        # at step 0 the autoencoder does not hear the discriminator, whose weight would be that of a rank's own batch
        return objective(batch.images, batch.noise, batch.levels, batch.texture_noise, batch.lesions, 0)["loss"]

    assert_gradients_add_up(objective, loss_of_rank)


def test_masks_come_with_their_images(tmp_path):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[3:7, 10:20] = True
    write_data(tmp_path, all_cells()[:1], {"train": 2}, lesions=lambda name: pack_mask(mask) if "-0" in name else None)
    rows = TrainingRows(Location.parse(tmp_path / "data"), "train", ["image", "lesions"], tmp_path)
    masks = rows.tensor("lesions", np.arange(len(rows))).numpy()
    assert sorted(int(one.sum()) for one in masks) == [0] * 4 + [40] * 2
    assert all((one == mask).all() for one in masks if one.any())


def test_crops_lie_on_the_foreground_and_move_over_all_of_it():
    images = torch.full((1, 40, 40), -1.0)
    images[0, 4:34, 20:26] = 0.5
    corners = {
        tuple(crop_corners(images, 16, torch.tensor([[row, column]]))[0])
        for row in torch.linspace(0, 0.999, 50).tolist()
        for column in (0.0, 0.5, 0.999)
    }
    assert {row for row, _ in corners} == set(range(4, 34 - 16 + 1))
    assert all(column <= 20 and column + 16 >= 26 for _, column in corners)
    assert torch.equal(cropped(images, 16, [[4, 15]])[0], images[0, 4:20, 15:31])
    assert crop_corners(torch.full((1, 20, 20), -1.0), 16, torch.tensor([[0.0, 0.999]])) == [[0, 4]]


def test_every_part_of_the_timesteps_has_one_row_and_all_of_it_is_reached(run, latents):
    num = CONFIG.diffusion.num_train_timesteps
    steps = torch.stack([draw_of(latents, run, Places.of_rank(0, 1, BATCH, 0, k)).timesteps for k in range(250)])
    assert torch.equal((steps.sort(dim=1).values * BATCH) // num, torch.arange(BATCH).expand(250, -1))
    assert kstest((steps[:, 0] + 0.5).numpy() / num, "uniform").pvalue > 1e-3


def test_a_draw_has_the_posterior_s_mean_and_spread(run, latents):
    statistics = read_statistics(run / "latents")
    rows = torch.zeros(4000, dtype=torch.long).numpy()
    draw = Draw.of(latents, rows, Places(0, 0, 4000, range(4000)), CONFIG, statistics)
    mean, std = latents.tensor("mean", rows[:1]), (0.5 * latents.tensor("logvar", rows[:1])).exp()
    error = (statistics.restored(draw.x0).mean(dim=0) - mean[0]) / (std[0] / 4000**0.5)
    assert float(error.abs().max()) < 5
    assert float((statistics.restored(draw.x0).std(dim=0) / std[0] - 1).abs().max()) < 0.06


# A mixture of Gaussians in one dimension, as weights, means and standard deviations: its posterior mean is known.
GAUSSIAN = ((1.0,), (0.7,), (0.4,))
MIXTURE = ((0.3, 0.7), (-1.2, 0.5), (0.2, 0.6))


def posterior_of(mixture, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x0 given alpha * x0 + sigma * noise, elementwise."""
    weights, means, stds = (torch.tensor(values, dtype=torch.float64) for values in mixture)
    noisy, alpha, sigma = noisy[..., None], alpha[..., None], sigma[..., None]
    variance = alpha**2 * stds**2 + sigma**2
    log_density = weights.log() - 0.5 * variance.log() - 0.5 * (noisy - alpha * means) ** 2 / variance
    share = log_density.softmax(dim=-1)
    mean = means + alpha * stds**2 / variance * (noisy - alpha * means)
    total = (share * mean).sum(-1)
    return total, (share * (mean**2 + stds**2 * sigma**2 / variance)).sum(-1) - total**2


def exact_denoiser(mixture, shift: float = 0.0, scale: float = 1.0) -> Callable[..., Tensor]:
    """The v of the posterior mean, or one that differs from it."""

    def predict_v(noisy: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        alpha, sigma = SCHEDULE.at(timesteps, noisy)
        x0, _ = posterior_of(mixture, noisy, alpha, sigma)
        return scale * (alpha * noisy - x0) / sigma + shift

    return predict_v


def least_loss(mixture) -> float:
    """The weighted variance of v given the noisy latent, over all timesteps: a quadrature over noisy latents."""
    weights, means, stds = (torch.tensor(values, dtype=torch.float64) for values in mixture)
    alpha, sigma = SCHEDULE.alpha[:, None], SCHEDULE.sigma[:, None]
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    spread = (alpha[..., None] ** 2 * stds**2 + sigma[..., None] ** 2).sqrt()
    normal = torch.distributions.Normal(alpha[..., None] * means, spread)
    density = (weights * normal.log_prob(grid[:, None]).exp()).sum(-1)
    _, variance = posterior_of(mixture, grid.expand(len(alpha), -1), alpha, sigma)
    # v = (alpha * noisy - x0) / sigma, so its variance is that of x0 over sigma^2.
    of_v = torch.trapezoid(density * variance, grid) / SCHEDULE.sigma**2
    snr = (SCHEDULE.alpha / SCHEDULE.sigma) ** 2
    return float((snr.clamp(max=CONFIG.diffusion.min_snr_gamma) / (snr + 1) * of_v).mean())


def drawn(mixture, num: int = 4000) -> Draw:
    """Latents (num, 1, 8, 8) of independent draws of the mixture, at all timesteps alike."""
    generator = torch.Generator().manual_seed(0)
    weights, means, stds = (torch.tensor(values, dtype=torch.float64) for values in mixture)
    which = torch.multinomial(weights, num * 64, replacement=True, generator=generator).view(num, 1, 8, 8)
    x0, noise = torch.randn((2, num, 1, 8, 8), dtype=torch.float64, generator=generator)
    timesteps = torch.arange(num) * SCHEDULE.num_timesteps // num
    cells = all_cells()[:1] * num
    return Draw(means[which] + stds[which] * x0, noise, timesteps, Conditions.of(cells, [0.0] * num))


def test_the_least_loss_of_a_gaussian_has_a_closed_form():
    alpha2, sigma2, s2 = SCHEDULE.alpha**2, SCHEDULE.sigma**2, 0.4**2
    # Noisy latent and v are jointly normal, with a covariance of determinant s2.
    weight = torch.minimum(alpha2 / sigma2, torch.tensor(5.0)) * sigma2
    expected = float((weight * s2 / (alpha2 * s2 + sigma2)).mean())
    assert least_loss(GAUSSIAN) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("mixture", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
def test_the_exact_denoiser_has_the_least_loss_and_any_other_more(mixture):
    draw, least = drawn(mixture), least_loss(mixture)
    exact = float(denoiser_loss(exact_denoiser(mixture), draw, SCHEDULE, CONFIG))
    assert exact == pytest.approx(least, rel=0.02)  # its standard error is 0.006
    others = [
        exact_denoiser(mixture, shift=0.2),
        exact_denoiser(mixture, scale=0.8),
        exact_denoiser(mixture, scale=1.2),
        exact_denoiser(GAUSSIAN if mixture is MIXTURE else MIXTURE),
    ]
    for other in others:
        assert float(denoiser_loss(other, draw, SCHEDULE, CONFIG)) > exact + 1e-4


def test_the_loss_of_another_denoiser_is_larger_by_its_distance():
    draw, gamma = drawn(MIXTURE), CONFIG.diffusion.min_snr_gamma
    exact, shifted = (
        float(denoiser_loss(exact_denoiser(MIXTURE, shift), draw, SCHEDULE, CONFIG)) for shift in (0.0, 0.5)
    )
    snr = (SCHEDULE.alpha / SCHEDULE.sigma) ** 2
    distance = float((snr.clamp(max=gamma) / (snr + 1)).mean()) * 0.5**2
    assert shifted - exact == pytest.approx(distance, rel=0.02)


def test_standardised_latents_are_what_the_statistics_say():
    latents = torch.randn(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 + 5
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3), correction=0)
    statistics = LatentStatistics(tuple(mean.tolist()), tuple(std.tolist()))
    standard = statistics.standardised(latents)
    torch.testing.assert_close(standard.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(statistics.restored(standard), latents)


def test_the_validation_loss_is_told_of_every_cell_and_part_of_the_timesteps_too(run, latents):
    torch.manual_seed(0)
    losses = validation_losses(Denoiser.build(CONFIG), latents, CONFIG, read_statistics(run / "latents"), SCHEDULE)
    counts = {str(cell): count for cell, count in latents.counts.items() if count}
    assert {name.removeprefix("val_loss/") for name in losses} == {
        "val_loss", *counts, *(f"level_{k}_of_5" for k in range(1, 6))
    }  # fmt: skip
    total = sum(losses[f"val_loss/{cell}"] * count for cell, count in counts.items())
    assert losses["val_loss"] == pytest.approx(total / len(latents))
    levels = [losses[f"val_loss/level_{k}_of_5"] for k in range(1, 6)]
    assert min(levels) < losses["val_loss"] < max(levels)
