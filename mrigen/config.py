"""Every what-setting, once: data, models, objective, sampler, evaluation; and the presets.

Where things run (workers, GPUs, storage) is not here but in `jobs`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
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
    weight_decay: float = Field(0.01, ge=0.0)
    max_grad_norm: PositiveFloat = 1.0
    ema_decay: float = Field(0.999, ge=0.0, lt=1.0)
    """Decay of the exponential moving average of the weights, which is what is kept."""
    checkpoint_every: PositiveInt = 200
    log_every: PositiveInt = 20
    preview_every: PositiveInt = 500
    """Steps between two validation losses and sample grids."""


class AutoencoderConfig(Section):
    """The variational autoencoder (diffusers' AutoencoderKL) and its loss."""

    latent_channels: PositiveInt = 4
    block_channels: tuple[PositiveInt, ...] = (16, 32, 64)
    """Channels of each level; each level but the last halves the image."""
    layers_per_block: PositiveInt = 1
    norm_groups: PositiveInt = 8
    kl_weight: float = Field(1e-4, ge=0.0)
    """Weight of the divergence, in nats a latent element, against the mean absolute error."""
    gradient_weight: float = Field(0.5, ge=0.0)
    """Weight of the mean absolute error of finite differences, which keeps edges sharp."""
    training: TrainingConfig = TrainingConfig(num_steps=500)

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
    attention_levels: tuple[bool, ...] = (False, True, True)
    """Which levels, the finest first, attend to themselves and to the conditions; the middle always does."""
    layers_per_block: PositiveInt = 1
    head_channels: PositiveInt = 32
    norm_groups: PositiveInt = 16
    condition_channels: PositiveInt = 128
    """Width of the condition tokens that every cross-attention layer sees."""
    pathology_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """Chance that a training image's pathology is replaced by the null token."""
    modality_dropout: float = Field(0.1, ge=0.0, le=1.0)
    position_dropout: float = Field(0.1, ge=0.0, le=1.0)
    joint_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """Chance that pathology and modality are dropped together: what guidance is measured from."""
    training: TrainingConfig = TrainingConfig(num_steps=1000, learning_rate=5e-4, ema_decay=0.995)

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
    schedule: Literal["cosine", "scaled_linear"] = "cosine"
    """cosine: Nichol and Dhariwal 2021, eq. 17; scaled_linear: Rombach et al. 2022."""
    min_snr_gamma: PositiveFloat | None = 5.0
    """Min-SNR loss weighting (Hang et al. 2023); null weighs the errors of v alike at every timestep."""


class SamplerConfig(Section):
    """How samples are drawn. Part of a sample's identity, with the model, the cell and the seed."""

    solver: Literal["ddim", "dpmpp-2m"] = "dpmpp-2m"
    num_steps: int = Field(20, ge=1, le=1000)
    guidance_scale: float = Field(2.0, ge=0.0, le=50.0)
    """1 is no guidance, 0 ignores the condition, more follows it more closely."""
    compute_batch: int = Field(8, ge=1, le=1024)
    """Samples that the networks see at once; short batches are padded to it, so that no
    neighbour changes a bit of a sample."""


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
    """Whose features images are compared by; the first leads. `mri` is the run's own judge of pathology and modality,
    `autoencoder` the run's own autoencoder; the last two need `weights`."""
    weights: WeightsConfig = WeightsConfig()
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
    """The judge that names pathology and modality, and the studies that use it: ablation and usefulness."""

    classifier_steps: PositiveInt = 900
    """Optimiser steps of the judge, on 64 images each."""
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
    held_out_cells: tuple[CellName, ...] = ()
    """Cells (`Sclerosis:PD`) whose images are kept out of training, to measure extrapolation."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of training; bf16 pays on GPUs."""
    data: DataConfig = DataConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    sampler: SamplerConfig = SamplerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    studies: StudyConfig = StudyConfig()
    audit: AuditConfig = AuditConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        side = self.data.image_size // self.autoencoder.downsampling
        if self.data.image_size % self.autoencoder.downsampling:
            raise ValueError(
                f"data.image_size {self.data.image_size} must be a multiple of the autoencoder's "
                f"downsampling {self.autoencoder.downsampling}"
            )
        if side % 2 ** (len(self.denoiser.block_channels) - 1):
            raise ValueError(f"a latent of side {side} cannot be halved by every level of denoiser.block_channels")
        return self

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hex."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved configuration as users write it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


PRESETS: dict[str, dict[str, Any]] = {
    # Tests: seconds for the whole chain; the images are noise-like.
    "tiny": {
        "data": {"slice_step_mm": 22.0},
        "autoencoder": {
            "latent_channels": 4,
            "block_channels": [8, 8, 16, 16],
            "training": {"num_steps": 8, "batch_size": 8, "checkpoint_every": 4, "log_every": 2, "preview_every": 4},
        },
        "denoiser": {
            "block_channels": [32, 32],
            "attention_levels": [True, True],
            "condition_channels": 32,
            "training": {"num_steps": 8, "batch_size": 8, "checkpoint_every": 4, "log_every": 2, "preview_every": 4},
        },
        "sampler": {"num_steps": 3},
        "evaluation": {"feature_size": 32, "num_pairs": 10, "num_bootstraps": 50, "num_permutations": 100},
        "studies": {
            "classifier_steps": 10,
            "samples_per_cell": 2,
            "guidance_scales": [3.0],
            "step_counts": [1, 3],
            "usefulness_steps": 2,
            "real_fractions": [0.5, 1.0],
        },
    },
    # Two CPU cores: a recognisable result within 25 minutes.
    "quick": {},
}


def load_config(
    preset: str = "quick", text: str | None = None, overrides: Iterable[str] = (), *, source: str = "configuration"
) -> Config:
    """Resolve a preset, then a YAML text, then `key.path=value` overrides, each winning over the one before.

    Raises InputError that names the key, its value and what would be right.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}: known are {', '.join(PRESETS)}")
    tree: dict[str, Any] = Config().model_dump(mode="json")
    _merge(tree, PRESETS[preset], f"preset {preset}")
    if text is not None:
        _merge(tree, _parse_yaml(text, source), source)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise InputError(f"override {override!r} is not of the form key.path=value")
        branch = _parse_yaml(value, f"override {override!r}", mapping=False)
        for part in reversed(key.split(".")):
            branch = {part: branch}
        _merge(tree, branch, f"override {override!r}")
    return parse_config(tree, source)


def read_settings(path: str) -> str:
    """The text of a YAML file of settings. Raises InputError if there is no such file, or it holds no text."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"--config: no file {path}")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config: {path} cannot be read as text: {' '.join(str(error).split())}") from None


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


def _parse_yaml(text: str, source: str, *, mapping: bool = True) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    if mapping and not isinstance(value, dict):
        raise InputError(f"{source} must hold a mapping of settings, not {type(value).__name__}")
    return value


def _merge(tree: dict[str, Any], patch: Mapping[str, Any], source: str, path: str = "") -> None:
    """Lay `patch` over `tree` in place; a key that `tree` lacks is an error that names the nearest one."""
    for key, value in patch.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in tree:
            near = difflib.get_close_matches(str(key), tree, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(tree)}"
            raise InputError(f"{source}: unknown setting {here!r}{hint}")
        if isinstance(tree[key], dict):
            if not isinstance(value, Mapping):
                raise InputError(f"{source}: {here!r} is a group of settings, not a value")
            _merge(tree[key], value, source, here)
        else:
            tree[key] = value
