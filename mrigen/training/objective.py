"""One step's draw of noise, timesteps and dropped conditions, and the denoiser's loss on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion.process import PREDICTIONS, NoiseSchedule, add_noise, loss_weight, training_timesteps
from mrigen.models.codec import Posterior
from mrigen.models.conditioning import Conditions, drop_conditions
from mrigen.models.latent_space import LatentStatistics
from mrigen.training.places import Array, Places
from mrigen.training.prefetch import to_device
from mrigen.training.rows import TrainingRows


@dataclass(frozen=True)
class Draw:
    """Clean latents and noise (B, C, *spatial), integer timesteps (B,) and conditions of some rows."""

    x0: Tensor
    noise: Tensor
    timesteps: Tensor
    conditions: Conditions

    @classmethod
    def of(
        cls,
        latents: TrainingRows,
        rows: Array,
        places: Places,
        config: Config,
        statistics: LatentStatistics,
        *,
        dropout: bool = True,
    ) -> Draw:
        """Draw for the `rows` that stand at `places`.

        Timesteps are stratified over the global batch: one in each of `places.batch_size` equal parts.
        """
        posterior = Posterior(latents.tensor("mean", rows), latents.tensor("logvar", rows))
        conditions = latents.conditions(rows)
        uniform, normal = places.draw(1 + conditions.num_uniforms, (2, *posterior.mean.shape[1:]))
        x0 = statistics.standardised(posterior.sample(normal[:, 0]))
        fraction = (torch.from_numpy(places.strata()) + uniform[:, 0]) / places.batch_size
        timesteps = training_timesteps(fraction, config.diffusion)
        if dropout:
            conditions = drop_conditions(conditions, uniform[:, 1:], config.denoiser)
        return cls(x0, normal[:, 1], timesteps, conditions)

    def __len__(self) -> int:
        return len(self.x0)

    def to(self, device: torch.device) -> Draw:
        """The same draw on `device`."""
        x0, noise, timesteps = (to_device(tensor, device) for tensor in (self.x0, self.noise, self.timesteps))
        return Draw(x0, noise, timesteps, self.conditions.map(lambda _, values: to_device(values, device)))


Network = Callable[[Tensor, Tensor, Conditions], Tensor]


def squared_errors(predict: Network, draw: Draw, schedule: NoiseSchedule, config: Config) -> Tensor:
    """Weighted squared error of what the network predicts (B, C, *spatial)."""
    alpha, sigma = schedule.at(draw.timesteps, draw.x0)
    predicted = predict(add_noise(draw.x0, draw.noise, alpha, sigma), draw.timesteps, draw.conditions)
    target = PREDICTIONS[config.diffusion.prediction].target(draw.x0, draw.noise, alpha, sigma)
    return loss_weight(alpha, sigma, config.diffusion) * (predicted - target).square()


def denoiser_loss(predict: Network, draw: Draw, schedule: NoiseSchedule, config: Config) -> Tensor:
    """Mean of the `squared_errors`, a scalar."""
    return squared_errors(predict, draw, schedule, config).mean()
