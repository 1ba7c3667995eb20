"""The settings that an ablation generates with: what the network is told, how it is guided, and how it is solved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch

from mrigen.config import Config, SamplerConfig
from mrigen.config.model import NO_GUIDANCE
from mrigen.diffusion.sampling import num_evaluations
from mrigen.diffusion.solvers import SOLVERS
from mrigen.model_folder.files import Model
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser

COMPARED = tuple(name for name, solver in SOLVERS.items() if not solver.stochastic)
"""The solvers whose samples, from the same noise, have one limit that more steps lead to."""


class Drop(StrEnum):
    """The condition that the network is not told."""

    NOTHING = "nothing"
    PATHOLOGY = "pathology"
    MODALITY = "modality"


@dataclass(frozen=True)
class Setting:
    """One way to generate."""

    sampler: SamplerConfig
    drop: Drop = Drop.NOTHING
    num_evaluations: int = field(default=0, compare=False)
    """Times that the network looks at one sample."""

    def as_json(self) -> dict[str, Any]:
        """The sampler's settings, what is dropped, and the number of function evaluations."""
        return {
            **self.sampler.model_dump(mode="json"),
            "without": str(self.drop),
            "num_evaluations": self.num_evaluations,
        }


def plan_settings(config: Config) -> list[Setting]:
    """The model's own setting, first; without a condition; without guidance and at other scales; and every solver
    of `COMPARED` at every number of steps."""
    own, studies = config.sampler, config.studies

    def setting(drop: Drop = Drop.NOTHING, **changes: Any) -> Setting:
        sampler = SamplerConfig.model_validate(own.model_dump() | changes)
        return Setting(sampler, drop, num_evaluations(sampler, config.diffusion.num_train_timesteps))

    found = [setting(), setting(Drop.PATHOLOGY), setting(Drop.MODALITY), setting(**NO_GUIDANCE)]
    found += [setting(guidance_scale=scale) for scale in sorted(studies.guidance_scales)]
    found += [
        setting(solver=solver, num_steps=count)
        for solver in COMPARED
        for count in sorted({own.num_steps, *studies.step_counts})
    ]
    return list(dict.fromkeys(found))


class _Untold(Denoiser):
    """A denoiser that is never told one condition: its null token stands there instead."""

    def __init__(self, denoiser: Denoiser, drop: Drop) -> None:
        super().__init__(denoiser.unet, denoiser.conditioner)
        self._drop = drop

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        return super().forward(latents, timesteps, conditions.without(self._drop))


def untold(model: Model, drop: Drop) -> Model:
    """A model that samples without one condition, in all else the same."""
    return model if drop == Drop.NOTHING else dataclasses.replace(model, denoiser=_Untold(model.denoiser, drop))
