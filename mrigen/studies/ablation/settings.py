"""The settings that an ablation generates with: what the network is told, how it is guided, and how it is solved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

from mrigen.checkpoint import Model
from mrigen.config import Config, SamplerConfig
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.solvers import SOLVERS

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

    @property
    def num_evaluations(self) -> int:
        """Times that the network looks at one sample: guidance needs two looks a step."""
        return self.sampler.num_steps * (2 if self.sampler.is_guided else 1)

    def as_json(self) -> dict[str, Any]:
        """Solver, steps, scale, what is dropped, and the number of function evaluations."""
        names = ("solver", "num_steps", "guidance_scale")
        return {
            **{name: getattr(self.sampler, name) for name in names},
            "without": str(self.drop),
            "num_evaluations": self.num_evaluations,
        }


def plan_settings(config: Config) -> list[Setting]:
    """The model's own setting, first; without a condition; without guidance and at other scales; and every solver
    of `COMPARED` at every number of steps."""
    own, studies = config.sampler, config.studies
    found = [Setting(own), Setting(own, Drop.PATHOLOGY), Setting(own, Drop.MODALITY)]
    found += [Setting(_changed(own, guidance_scale=scale)) for scale in sorted({1.0, *studies.guidance_scales})]
    found += [
        Setting(_changed(own, solver=solver, num_steps=count))
        for solver in COMPARED
        for count in sorted({own.num_steps, *studies.step_counts})
    ]
    return list(dict.fromkeys(found))


def _changed(sampler: SamplerConfig, **changes: Any) -> SamplerConfig:
    return SamplerConfig.model_validate(sampler.model_dump() | changes)


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
