"""Every what-setting, once: data, models, objective, sampler, evaluation.

Where things run (workers, GPUs, storage) is not here but in `jobs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.settings_files import resolved_tree
from mrigen.solvers import SolverName

CellName = Annotated[str, AfterValidator(lambda text: str(Cell.parse(text)))]
"""A cell as `Pathology:Modality`, in the labels' own spelling."""


class Section(BaseModel):
    """A frozen group of settings that rejects unknown keys and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    """How scans become training images."""

    spatial_dims: Literal[2, 3] = 2
    """2: slices; 3: whole volumes. The models are 2-D so far."""
    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    """Which slices are taken. Axial ones are [x, y], coronal ones [x, z], sagittal ones [y, z], in RAS+."""
    image_size: PositiveInt = Field(64, multiple_of=8, le=512)
    """Pixels along each side of an image."""
    spacing_mm: PositiveFloat = Field(3.0, le=20.0)
    """Size of a pixel; the field of view is image_size * spacing_mm."""
    slice_range_mm: tuple[float, float] = (-20.0, 46.0)
    """Positions at which slices are taken, along the plane's normal from the centre of the brain's bounding box."""
    slice_step_mm: PositiveFloat = 6.0
    """Distance between neighbouring slices of one scan."""
    min_foreground: float = Field(0.05, ge=0.0, lt=1.0)
    """Slices with a smaller fraction of foreground pixels are left out."""
    clip_percentiles: tuple[float, float] = (0.5, 99.5)
    """Percentiles of the foreground's intensities that become -1 and 1."""
    head: Literal["keep", "strip"] = "keep"
    """keep: heads as they are; strip: the brain alone, by a mask given, found beside the scan, made by
    `strip_command` or estimated for scans in MNI space."""
    strip_command: str | None = None
    """A skull-stripper of the user's, with {input} and {mask} for the scan and the brain mask it writes."""
    bias_correction: Literal["none", "n4"] = "none"
    """N4 (Tustison et al. 2010), by the extra mrigen[registration]."""
    registration: Literal["none", "rigid", "affine"] = "none"
    """To the ICBM152 template in MNI space, by the extra mrigen[registration]."""
    max_scan_mb: PositiveInt = 1024
    """The most that one scan may take up once read; a file that claims more is left out."""
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the subjects held out to watch training."""
    test_fraction: float = Field(0.2, ge=0.0, lt=1.0)
    """Share of the subjects held out for evaluation."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.slice_range_mm[0] > self.slice_range_mm[1]:
            raise ValueError(f"slice_range_mm {list(self.slice_range_mm)} must be [lowest, highest]")
        low, high = self.clip_percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"clip_percentiles {[low, high]} must be [lower, upper] within 0 to 100")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction together leave nothing to train on")
        return self


class TrainingConfig(Section):
    """One training loop: the autoencoder and the denoiser each have their own."""

    num_steps: PositiveInt
    """Optimiser steps in all."""
    batch_size: PositiveInt = 32
    """Images of one step, over all workers together; must be a multiple of their number."""
    learning_rate: PositiveFloat = 1e-3
    """Peak of the schedule: linear warm-up, then a cosine down to a tenth."""
    warmup_steps: int = Field(50, ge=0)
    """Steps over which the rate rises."""
    weight_decay: float = Field(0.01, ge=0.0)
    """AdamW's (Loshchilov and Hutter 2019)."""
    max_grad_norm: PositiveFloat = 1.0
    """Norm to which longer gradients are shortened."""
    ema_decay: float = Field(0.999, ge=0.0, lt=1.0)
    """Decay of the exponential moving average of the weights, which is what is kept."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints, from which a killed run goes on."""
    log_every: PositiveInt = 20
    """Steps between two points of the loss curves."""
    preview_every: PositiveInt = 500
    """Steps between two validation losses and sample grids."""


class AutoencoderConfig(Section):
    """The variational autoencoder (diffusers' AutoencoderKL) and its loss."""

    latent_channels: PositiveInt = 4
    """Channels of a latent."""
    block_channels: tuple[PositiveInt, ...] = (16, 32, 64)
    """Channels of each level; each level but the last halves the image."""
    layers_per_block: PositiveInt = 1
    """Residual blocks of each level."""
    norm_groups: PositiveInt = 8
    """Groups of the group normalisation; each of block_channels must be a multiple."""
    kl_weight: float = Field(1e-4, ge=0.0)
    """Weight of the divergence, in nats a latent element, against the mean absolute error."""
    gradient_weight: float = Field(0.5, ge=0.0)
    """Weight of the mean absolute error of finite differences, which keeps edges sharp."""
    training: TrainingConfig = TrainingConfig(num_steps=500)
    """Its training loop."""

    @property
    def downsampling(self) -> int:
        """Pixels along a side that one latent position stands for."""
        return int(2 ** (len(self.block_channels) - 1))

    @model_validator(mode="after")
    def _grouped(self) -> Self:
        if any(channels % self.norm_groups for channels in self.block_channels):
            raise ValueError(f"block_channels {list(self.block_channels)} must be multiples of {self.norm_groups}")
        return self


class DenoiserConfig(Section):
    """The conditional U-Net (diffusers' UNet2DConditionModel) and its conditioning."""

    block_channels: tuple[PositiveInt, ...] = (64, 96, 128)
    """Channels of each level; each level but the last halves the latent."""
    attention_levels: tuple[bool, ...] = (False, True, True)
    """Which levels, the finest first, attend to themselves and to the conditions; the middle always does."""
    layers_per_block: PositiveInt = 1
    """Residual blocks of each level."""
    head_channels: PositiveInt = 32
    """Channels of one attention head; each of block_channels must be a multiple."""
    norm_groups: PositiveInt = 16
    """Groups of the group normalisation; each of block_channels must be a multiple."""
    condition_channels: PositiveInt = 128
    """Width of the condition tokens that every cross-attention layer sees."""
    pathology_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """Chance that a training image's pathology is replaced by the null token."""
    modality_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """The same of its modality."""
    position_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """The same of the height of its slice."""
    joint_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """Chance that pathology and modality are dropped together: what guidance is measured from."""
    training: TrainingConfig = TrainingConfig(num_steps=1000, learning_rate=5e-4, ema_decay=0.995)
    """Its training loop."""

    @model_validator(mode="after")
    def _grouped(self) -> Self:
        if len(self.attention_levels) != len(self.block_channels):
            raise ValueError(
                f"attention_levels {list(self.attention_levels)} must have one entry for each of "
                f"block_channels {list(self.block_channels)}"
            )
        for divisor, name in ((self.norm_groups, "norm_groups"), (self.head_channels, "head_channels")):
            if any(channels % divisor for channels in self.block_channels):
                raise ValueError(f"block_channels {list(self.block_channels)} must be multiples of {name} = {divisor}")
        return self


class DiffusionConfig(Section):
    """The forward process and the weight of each timestep; the network predicts v (Salimans and Ho 2022)."""

    num_train_timesteps: int = Field(1000, ge=10)
    """Noise levels from the clean image to noise."""
    schedule: Literal["cosine", "scaled_linear"] = "cosine"
    """cosine: Nichol and Dhariwal 2021, eq. 17; scaled_linear: Rombach et al. 2022."""
    min_snr_gamma: PositiveFloat | None = 5.0
    """Min-SNR loss weighting (Hang et al. 2023); null weighs the errors of v alike at every timestep."""


class SamplerConfig(Section):
    """How samples are drawn. Part of a sample's identity, with the model, the cell and the seed."""

    solver: SolverName = "dpmpp-2m"
    """One of `mrigen.solvers.SOLVERS`."""
    num_steps: int = Field(20, ge=1, le=1000)
    """Steps of the solver, each of which calls the denoiser once, or twice with guidance."""
    guidance_scale: float = Field(2.0, ge=0.0, le=50.0)
    """1 is no guidance, 0 ignores the condition, more follows it more closely."""
    compute_batch: int = Field(8, ge=1, le=1024)
    """Samples that the networks see at once; short batches are padded to it, so that no
    neighbour changes a bit of a sample."""

    @property
    def is_guided(self) -> bool:
        """Whether the denoiser is also asked without the condition."""
        return self.guidance_scale != 1.0

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What samples must agree in to share a compute batch."""
        return self.solver, self.num_steps, self.compute_batch, self.is_guided


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
    """The classifier of pathology and modality, and the studies that use it: ablation and usefulness."""

    classifier_steps: PositiveInt = 900
    """Optimiser steps of the condition classifier, on 64 images each."""
    samples_per_cell: int = Field(16, ge=2, le=1000)
    """Images of each cell that an ablation generates for each setting."""
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

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name in ("guidance_scales", "step_counts", "real_fractions"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {list(values)} names a value twice")
        if not self.real_fractions:
            raise ValueError("real_fractions must name at least one share of the subjects")
        return self


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
    """Of `mrigen ablate` and `mrigen usefulness`."""
    audit: AuditConfig = AuditConfig()
    """Of `mrigen audit`."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of what the denoiser works on."""
        if self.codec == "pixels":
            return (1, *[self.data.image_size] * self.data.spatial_dims)
        side = self.data.image_size // self.autoencoder.downsampling
        return (self.autoencoder.latent_channels, *[side] * self.data.spatial_dims)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.codec == "autoencoder" and self.data.image_size % self.autoencoder.downsampling:
            raise ValueError(
                f"data.image_size {self.data.image_size} must be a multiple of the autoencoder's "
                f"downsampling {self.autoencoder.downsampling}"
            )
        if (side := self.latent_shape[-1]) % 2 ** (len(self.denoiser.block_channels) - 1):
            raise ValueError(f"a latent of side {side} cannot be halved by every level of denoiser.block_channels")
        return self

    def hashed_tree(self) -> dict[str, Any]:
        """What hashes are taken of: without `codec` at its default, for runs made before it was a setting."""
        return self.model_dump(mode="json", exclude={"codec"} if self.codec == "autoencoder" else None)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hex."""
        canonical = json.dumps(self.hashed_tree(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved configuration as users write it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(
    preset: str = "quick", text: str | None = None, overrides: Iterable[str] = (), *, source: str = "configuration"
) -> Config:
    """Resolve a preset, then a YAML text, then `key.path=value` overrides, each winning over the one before.

    Raises InputError that names the key, its value and what would be right.
    """
    return parse_config(resolved_tree(Config().model_dump(mode="json"), preset, text, overrides, source), source)


def parse_config(tree: Mapping[str, Any], source: str = "configuration") -> Config:
    """Validate a whole tree of settings; InputError tells the first fault in one line."""
    return parse_section(Config, tree, source)


SectionT = TypeVar("SectionT", bound=Section)


def parse_section(section: type[SectionT], tree: Mapping[str, Any], source: str) -> SectionT:
    """Validate the settings of one section; InputError tells the first fault in one line."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or source
        message = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], dict | BaseModel) else f", got {str(first['input'])[:80]!r}"
        raise InputError(f"{where}: {message}{given}") from None
