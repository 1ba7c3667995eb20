"""One step's draw of noise, timesteps and dropped conditions, and the denoiser's loss on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion import NoiseSchedule, add_noise, min_snr_weight, velocity
from mrigen.models.codec import Posterior
from mrigen.models.conditioning import NUM_UNIFORMS, Conditions, drop_conditions
from mrigen.models.latent_space import LatentStatistics
from mrigen.training.data import TrainingRows


@dataclass(frozen=True)
class Draw:
    """Clean latents and noise (B, C, *spatial), integer timesteps (B,) and conditions of one batch."""

    x0: Tensor
    noise: Tensor
    timesteps: Tensor
    conditions: Conditions

    @classmethod
    def of(
        cls,
        rows: TrainingRows,
        batch: Sequence[int],
        config: Config,
        statistics: LatentStatistics,
        generator: torch.Generator,
        *,
        dropout: bool = True,
    ) -> Draw:
        """Draw for the rows of a global batch. Timesteps are stratified: one in each of B equal parts."""
        posterior = Posterior(rows.tensor("mean", batch), rows.tensor("logvar", batch))
        shape, num = posterior.mean.shape, len(batch)
        x0 = statistics.standardised(posterior.sample(torch.randn(shape, generator=generator)))
        noise = torch.randn(shape, generator=generator)
        strata = torch.randperm(num, generator=generator) + torch.rand(num, generator=generator)
        timesteps = (strata / num * config.diffusion.num_train_timesteps).long()
        conditions = rows.conditions(batch)
        uniform = torch.rand((num, NUM_UNIFORMS), generator=generator)
        if dropout:
            conditions = drop_conditions(conditions, uniform, config.denoiser)
        return cls(x0, noise, timesteps.clamp(max=config.diffusion.num_train_timesteps - 1), conditions)

    def _at(self, index: slice) -> Draw:
        return Draw(self.x0[index], self.noise[index], self.timesteps[index], self.conditions[index])

    def share(self, rank: int, world: int) -> Draw:
        """What worker `rank` of `world` computes: rows rank::world."""
        return self._at(slice(rank, None, world))

    def split(self, size: int) -> Iterator[Draw]:
        """Consecutive parts of at most `size` rows."""
        for start in range(0, len(self.x0), size):
            yield self._at(slice(start, start + size))

    def to(self, device: torch.device) -> Draw:
        """The same draw on `device`."""
        return Draw(self.x0.to(device), self.noise.to(device), self.timesteps.to(device), self.conditions.to(device))


def denoiser_loss(
    predict_v: Callable[[Tensor, Tensor, Conditions], Tensor], draw: Draw, schedule: NoiseSchedule, config: Config
) -> Tensor:
    """Weighted mean squared error of the predicted v, a scalar (Salimans and Ho 2022; Hang et al. 2023)."""
    alpha, sigma = schedule.at(draw.timesteps, draw.x0)
    predicted = predict_v(add_noise(draw.x0, draw.noise, alpha, sigma), draw.timesteps, draw.conditions)
    error = (predicted - velocity(draw.x0, draw.noise, alpha, sigma)).square()
    return (min_snr_weight(alpha, sigma, config.diffusion.min_snr_gamma) * error).mean()
