"""Every what-setting, once: data, models, objective, sampler, evaluation.

Where things run (workers, GPUs, storage) is not here but in `jobs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from mrigen.config.files import resolved_tree
from mrigen.config.measures import AuditConfig, EvaluationConfig, StudyConfig, WeightsConfig
from mrigen.config.model import (
    AutoencoderConfig,
    DataConfig,
    DenoiserConfig,
    DiffusionConfig,
    SamplerConfig,
    TrainingConfig,
)
from mrigen.config.section import Section, parse_section
from mrigen.errors import InputError
from mrigen.labels import Cell

__all__ = [
    "AuditConfig",
    "AutoencoderConfig",
    "Config",
    "DataConfig",
    "DenoiserConfig",
    "DiffusionConfig",
    "EvaluationConfig",
    "SamplerConfig",
    "Section",
    "StudyConfig",
    "TrainingConfig",
    "WeightsConfig",
    "load_config",
    "parse_config",
    "parse_section",
]

CellName = Annotated[str, AfterValidator(lambda text: str(Cell.parse(text)))]
"""A cell as `Pathology:Modality`, in the labels' own spelling."""


class Config(Section):
    """All what-settings of one run; its hash names the run."""

    seed: int = Field(0, ge=0, lt=2**63)
    """Of the weights at the start, the order of the rows, and all that is drawn."""
    held_out_cells: tuple[CellName, ...] = ()
    """Cells (`Sclerosis:PD`) whose images are kept out of training, to measure extrapolation."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of training; bf16 pays on GPUs."""
    codec: Literal["autoencoder", "pixels"] = "autoencoder"
    """What the denoiser works on: latents of an autoencoder that is trained first, or the images themselves."""
    data: DataConfig = DataConfig()
    """Scans to images."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """Images to latents; not used with the codec `pixels`."""
    denoiser: DenoiserConfig = DenoiserConfig()
    """The network that samples are drawn with."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """What it is trained to undo."""
    sampler: SamplerConfig = SamplerConfig()
    """How samples are drawn, unless a request says otherwise."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Of `mrigen evaluate`."""
    studies: StudyConfig = StudyConfig()
    """Of `mrigen ablate`, `mrigen usefulness` and `mrigen spaces`."""
    audit: AuditConfig = AuditConfig()
    """Of `mrigen audit`."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of what the denoiser works on."""
        if self.codec == "pixels":
            return (1, *self.data.image_shape)
        return self.autoencoder.latent_shape(self.data.image_shape)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.codec == "autoencoder" and self.data.image_size % self.autoencoder.downsampling:
            raise ValueError(
                f"data.image_size {self.data.image_size} must be a multiple of the autoencoder's "
                f"downsampling {self.autoencoder.downsampling}"
            )
        if self.autoencoder.crop_size is not None and self.autoencoder.crop_size > self.data.image_size:
            raise ValueError(f"autoencoder.crop_size {self.autoencoder.crop_size} is more than data.image_size")
        if (most := self.diffusion.num_train_timesteps) < self.sampler.num_steps:
            raise ValueError(f"sampler.num_steps {self.sampler.num_steps} is more than num_train_timesteps {most}")
        if self.sampler.guide == "early" and not self.denoiser.early_share:
            raise ValueError("sampler.guide early needs an early state: denoiser.early_share, such as 0.06")
        if (side := self.latent_shape[-1]) % 2 ** (len(self.denoiser.block_channels) - 1):
            raise ValueError(f"a latent of side {side} cannot be halved by every level of denoiser.block_channels")
        return self

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hex."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved configuration as users write it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(
    preset: str | None = "quick",
    text: str | None = None,
    overrides: Iterable[str] = (),
    *,
    source: str = "configuration",
) -> Config:
    """Resolve a preset, if one is named, then a YAML text, then `key.path=value` overrides, each winning over the one
    before.

    Raises InputError that names the key, its value and what would be right, and the file `source` that said it.
    """
    overrides = tuple(overrides)
    tree = resolved_tree(Config().model_dump(mode="json"), preset, text, overrides, source)
    try:
        return parse_config(tree, source if text is not None and not overrides else "")
    except InputError:
        if text is not None and overrides:
            load_config(preset, text, source=source)  # where the file is at fault, it is named
        raise


def parse_config(tree: Mapping[str, Any], source: str = "") -> Config:
    """Validate a whole tree of settings; InputError tells the first fault in one line, after the file `source`."""
    return parse_section(Config, tree, source)
