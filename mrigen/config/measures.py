"""What is measured of a model: evaluation, audit, studies."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mrigen.config.section import Section


class WeightsConfig(Section):
    """Files (safetensors) of the published weights of extractors that do not come with the installation."""

    inception: str | None = None
    """The Inception of FID."""
    radimagenet: str | None = None
    """RadImageNet's ResNet-50."""


class EvaluationConfig(Section):
    """What is measured against the held-out images, and on how much."""

    extractors: tuple[Literal["efficientnet-lite0", "mri", "autoencoder", "inception", "radimagenet"], ...] = (
        "efficientnet-lite0",
        "mri",
        "autoencoder",
    )
    """Whose features images are compared by; the first leads. `mri` is the run's own condition classifier,
    `autoencoder` the run's own autoencoder; the last two need `weights`."""
    weights: WeightsConfig = WeightsConfig()
    """Where the weights of the last two are."""
    feature_size: int = Field(128, ge=32, le=512)
    """Side to which images are resized for EfficientNet-Lite0."""
    num_pairs: PositiveInt = 200
    """Random pairs per cell whose MS-SSIM is averaged."""
    num_bootstraps: int = Field(1000, ge=20)
    """Draws of subjects that an interval rests on."""
    num_permutations: int = Field(2000, ge=20)
    """Permutations of the test of generated against real images; p-values cannot be smaller than one over them."""

    @model_validator(mode="after")
    def _some_extractor(self) -> Self:
        if not self.extractors or len(set(self.extractors)) < len(self.extractors):
            raise ValueError(f"extractors {list(self.extractors)} must name one or more, each once")
        for name, file in self.weights:
            if name in self.extractors and not file:
                raise ValueError(f"the extractor {name} needs its weights: name their file in weights.{name}")
            if file and name not in self.extractors:
                raise ValueError(f"weights.{name} are of no use: add {name} to extractors")
        return self


class AuditConfig(Section):
    """How copies of training images are looked for."""

    shortlist: int = Field(32, ge=2, le=1024)
    """Real images of each set whose pixels an image is compared with: half the nearest by features of a network, half
    by spectrum."""
    max_shift: int = Field(2, ge=0, le=8)
    """Pixels by which an image may be moved along each axis to fit a real one."""
    percentile: float = Field(99.0, ge=50.0, lt=100.0)
    """A sample is flagged when it is nearer to training than this percentile of the held-out images."""
    significance: float = Field(0.01, gt=0.0, lt=1.0)
    """The audit fails when matches in excess of those of held-out images have a smaller p-value."""


class StudyConfig(Section):
    """The studies (ablation, usefulness, spaces), and the classifier of pathology and modality that two of them use."""

    classifier_steps: PositiveInt = 900
    """Optimiser steps of the condition classifier, on 64 images each."""
    samples_per_cell: int = Field(16, ge=2, le=1000)
    """Images of each cell that an ablation generates for each setting, and the study of spaces with each state."""
    guidance_scales: tuple[Annotated[float, Field(ge=0.0, le=50.0)], ...] = (1.5, 3.0, 5.0)
    """What an ablation tries beside the sampler's own scale and none at all."""
    step_counts: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = (5, 10, 20, 50)
    """Solver steps that an ablation tries with each solver."""
    usefulness_steps: PositiveInt = 600
    """Optimiser steps of each classifier in the study of usefulness, whatever it is trained on."""
    num_seeds: int = Field(3, ge=3, le=100)
    """Trainings of the same kind in the study of usefulness."""
    real_fractions: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.0625, 0.25, 1.0)
    """Shares of the real training subjects that the study of usefulness tries."""

    spaces: tuple[Literal["f2", "f4", "f8", "f16", "pixels"], ...] = Field(("f4", "f8", "pixels"), min_length=2)
    """What the study of spaces trains the denoiser in: latents, by the pixels a side of each, or pixels."""
    space_minutes: PositiveFloat = 30.0
    """Minutes that a space has for all its training: autoencoder, encoding and denoiser."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name in ("guidance_scales", "step_counts", "real_fractions", "spaces"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {list(values)} names a value twice")
        if not self.real_fractions:
            raise ValueError("real_fractions must name at least one share of the subjects")
        return self
