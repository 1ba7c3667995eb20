"""What decides a model and its samples: data, networks, objective, sampler."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mrigen.config.section import Section, Share
from mrigen.diffusion.solvers import SolverName


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
    """keep: heads as they are; strip: the brain alone, by a mask given or found beside the scan, else made by
    `strip_command` or the extra mrigen[strip] (T1w; other contrasts follow the subject's T1w), or the template's for
    scans in MNI space."""
    strip_command: str | None = None
    """A skull-stripper of the user's, with {input} and {mask} for the scan and the brain mask it writes."""
    bias_correction: Literal["none", "n4"] = "none"
    """N4 (Tustison et al. 2010), by the extra mrigen[registration]."""
    registration: Literal["none", "rigid", "affine"] = "none"
    """To the ICBM152 template in MNI space, brain to brain, by the extra mrigen[registration]; heads need what
    `head: strip` needs."""
    max_scan_mb: PositiveInt = 1024
    """The most that one scan may take up once read; a file that claims more is left out."""
    val_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the subjects of each pathology held out to watch training."""
    test_fraction: float = Field(0.2, ge=0.0, lt=1.0)
    """Likewise, for evaluation."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Pixels along each axis of an image."""
        return (self.image_size,) * self.spatial_dims

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

    started_from: str | None = None
    """SHA-256 of the model that the weights begin with, as `--from` notes it; null begins with random ones."""
    num_steps: NonNegativeInt
    """Optimiser steps in all; 0 keeps the weights of the model given by `--from`."""
    batch_size: PositiveInt = 32
    """Images of one step, over all workers together."""
    micro_batch_size: PositiveInt | None = None
    """Images that a worker's network sees at once, whose gradients add up to the step's: takes less memory, and changes
    sums by rounding alone, as the number of workers does; null sees all of a worker's share."""
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
    checkpoint_minutes: PositiveFloat = 5.0
    """Minutes between two checkpoints, from which a killed run goes on."""
    checkpoint_every: PositiveInt | None = None
    """Steps after which there is one in any case; null goes by the clock alone."""
    log_every: PositiveInt = 20
    """Steps between two points of the loss curves."""
    preview_every: PositiveInt = 500
    """Steps between two validation losses and sample grids."""


_ADVERSARIAL_RAMP = 0.05


class AutoencoderConfig(Section):
    """The variational autoencoder and its loss."""

    network: Literal["kl", "conv"] = "kl"
    """kl: diffusers' AutoencoderKL; conv: one without norms that begins with patches of 2 x 2 pixels, so that of equal
    block_channels it halves the image once more."""
    latent_channels: PositiveInt = 4
    """Channels of a latent."""
    block_channels: tuple[PositiveInt, ...] = Field((16, 32, 64), min_length=1)
    """Channels of each level, the finest first; each level but the last halves the image."""
    layers_per_block: PositiveInt = 1
    """Residual blocks of each level of the encoder; the decoder has one more."""
    norm_groups: PositiveInt = 8
    """Groups of the group normalisation of `kl`; each of block_channels must be a multiple."""
    latent_noise: float = Field(0.0, ge=0.0, le=2.0)
    """The most noise that the decoder learns to see through, in standard deviations of an image's latents: each image
    has its level, uniform from 0. What a denoiser leaves wrong is seen as little as it (Zheng et al. 2025)."""
    kl_weight: float = Field(1e-4, ge=0.0)
    """Weight of the divergence, in nats a latent element, against the mean absolute error."""
    gradient_weight: float = Field(0.5, ge=0.0)
    """Weight of the mean absolute error of finite differences, which keeps edges sharp."""
    lesion_weight: float = Field(0.0, ge=0.0)
    """How much more a pixel of a lesion counts than another, where masks are known."""
    perceptual_weight: float = Field(0.0, ge=0.0)
    """Weight of the difference in features of EfficientNet-Lite1, for which `mrigen[perceptual]` must be installed."""
    adversarial_weight: float = Field(0.0, ge=0.0)
    """Weight of the word of a discriminator that looks at these features, patch by patch, in lengths of the other
    losses' gradient; 0 is without one."""
    adversarial_start: Share = 0.5
    """Part of the training after which the autoencoder hears the discriminator, within a twentieth fully."""
    frozen_encoder: bool = False
    """Train the decoder alone, from a model given by `--from`: latents and denoisers of that encoder stay valid."""
    crop_size: int | None = Field(None, ge=16)
    """Side of the crops of the foreground that are trained on; null takes whole images."""
    training: TrainingConfig = TrainingConfig(num_steps=500)
    """Its training loop."""

    @property
    def downsampling(self) -> int:
        """Pixels along a side that one latent position stands for."""
        return int(2 ** (len(self.block_channels) - (self.network == "kl")))

    def latent_shape(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape (C, *spatial) of the latent of an image of that shape."""
        return (self.latent_channels, *(side // self.downsampling for side in image_shape))

    def adversarial_share(self, step: int) -> float:
        """How much of `adversarial_weight` counts at a step, from 0 to 1."""
        return min(1.0, max(0.0, (step / self.training.num_steps - self.adversarial_start) / _ADVERSARIAL_RAMP))

    @model_validator(mode="after")
    def _grouped(self) -> Self:
        if self.crop_size is not None and self.crop_size % self.downsampling:
            raise ValueError(f"crop_size {self.crop_size} must be a multiple of the downsampling {self.downsampling}")
        if self.network == "kl" and any(channels % self.norm_groups for channels in self.block_channels):
            raise ValueError(f"block_channels {list(self.block_channels)} must be multiples of {self.norm_groups}")
        for finer, coarser in pairwise(self.block_channels if self.network == "conv" else ()):
            if coarser not in (finer, 2 * finer, 4 * finer):
                raise ValueError(f"block_channels {list(self.block_channels)} may stay, double or quadruple")
        return self


class DenoiserConfig(Section):
    """The conditional U-Net and its conditioning."""

    network: Literal["unet", "conv"] = "unet"
    """unet: diffusers' UNet2DConditionModel; conv: one without norms, whose positions attend to each other and to the
    conditions at once: per step less arithmetic, and more of it in convolutions."""
    block_channels: tuple[PositiveInt, ...] = Field((64, 96, 128), min_length=1)
    """Channels of each level; each level but the last halves the latent."""
    attention_levels: tuple[bool, ...] = (False, True, True)
    """Which levels, the finest first, attend to themselves and to the conditions; the middle always does."""
    layers_per_block: PositiveInt = 1
    """Residual blocks of each level."""
    head_channels: PositiveInt = 32
    """Channels of one attention head; each of block_channels must be a multiple."""
    norm_groups: PositiveInt = 16
    """Groups of the group normalisation of `unet`; each of block_channels must be a multiple."""
    condition_channels: PositiveInt = 128
    """Width of the condition tokens that every cross-attention layer sees."""
    pathology_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """Chance that a training image's pathology is replaced by the null token."""
    modality_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """The same of its modality."""
    position_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """The same of the height of its slice."""
    source_token: bool = False
    """Tell the denoiser the source (site, scanner, data set) of each training image, so that samples can be asked of
    one; those of none are of the average over them."""
    source_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """As pathology_dropout, of the source."""
    joint_dropout: float = Field(0.1, ge=0.0, le=1.0)
    """Chance that pathology and modality are dropped together: what guidance is measured from."""
    cell_balance: Share = 0.0
    """How far rare cells are trained on more often than they come: 0 not at all, 1 until all cells come equally often,
    0.5 by the square root of their numbers."""
    early_share: Share = 0.0
    """Part of the training after which the averaged weights are kept for `sampler.guide: early`; 0 keeps none."""
    adapter_rank: NonNegativeInt = 0
    """Rank of low-rank adapters (Hu et al. 2022): of a model given by `--from` only they and the condition tokens are
    trained, and merged into it at the end; 0 trains all weights."""
    recompute_activations: bool = False
    """Keep few activations of a training step and compute the others again on the way back (Chen et al. 2016): less
    memory, about a quarter more arithmetic, the same bits."""
    shard_weights: bool = False
    """Spread weights, gradients, optimiser and average over the workers (FSDP; Zhao et al. 2023), each of whom puts one
    block's weights together at a time: less memory, more exchange, and sums that differ by rounding alone."""
    training: TrainingConfig = TrainingConfig(num_steps=1000, learning_rate=5e-4, ema_decay=0.995)
    """Its training loop."""

    @model_validator(mode="after")
    def _grouped(self) -> Self:
        if len(self.attention_levels) != len(self.block_channels):
            raise ValueError(
                f"attention_levels {list(self.attention_levels)} must have one entry for each of "
                f"block_channels {list(self.block_channels)}"
            )
        of_norms = [(self.norm_groups, "norm_groups")] if self.network == "unet" else []
        for divisor, name in (*of_norms, (self.head_channels, "head_channels")):
            if any(channels % divisor for channels in self.block_channels):
                raise ValueError(f"block_channels {list(self.block_channels)} must be multiples of {name} = {divisor}")
        if self.shard_weights and self.adapter_rank:
            raise ValueError(
                "shard_weights and adapter_rank do not go together: adapters take little memory as they are"
            )
        return self


class DiffusionConfig(Section):
    """The forward process, what the network predicts, and the weight of each timestep."""

    num_train_timesteps: int = Field(1000, ge=10)
    """Noise levels from the clean image to noise."""
    schedule: Literal["cosine", "scaled_linear", "linear"] = "cosine"
    """cosine: Nichol and Dhariwal 2021, eq. 17; scaled_linear: Rombach et al. 2022; linear: the straight path of flow
    matching."""
    prediction: Literal["v", "epsilon", "flow"] = "v"
    """v: Salimans and Ho 2022; epsilon: Ho et al. 2020, on the schedule scaled_linear, for cosine ends where the noise
    tells nothing of the image; flow: Lipman et al. 2023, on the schedule linear."""
    timesteps: Literal["uniform", "logit_normal"] = "uniform"
    """How often each noise level is trained: all alike, or the middle more than the ends (Esser et al. 2024)."""
    min_snr_gamma: PositiveFloat | None = 5.0
    """Min-SNR loss weighting (Hang et al. 2023); null weighs the errors of the prediction alike at every timestep."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if (self.prediction == "flow") != (self.schedule == "linear"):
            raise ValueError(
                f"prediction {self.prediction} and schedule {self.schedule} do not go together: flow and linear do"
            )
        if self.prediction == "epsilon" and self.schedule != "scaled_linear":
            raise ValueError(f"prediction epsilon needs schedule scaled_linear, not {self.schedule}")
        return self


NO_GUIDANCE: dict[str, Any] = {"guidance_scale": 1.0, "pathology_scale": 0.0, "modality_scale": 0.0}
"""The scales of the terms of guidance, at the values that leave it out."""


class SamplerConfig(Section):
    """How samples are drawn. Part of a sample's identity, with the model, the cell and the seed."""

    solver: SolverName = "dpmpp-2m"
    """One of `mrigen.diffusion.solvers.SOLVERS`."""
    num_steps: int = Field(20, ge=1, le=1000)
    """Steps of the solver, each of which calls the denoiser once, and once more for each term of guidance."""
    guidance_scale: float = Field(2.0, ge=0.0, le=50.0)
    """1 is no guidance, 0 ignores the condition, more follows it more closely (Ho and Salimans 2021)."""
    pathology_scale: float = Field(0.0, ge=0.0, le=50.0)
    """Scale of a guidance term of the pathology alone, and below of the modality alone, beside that of both together.
    With guidance_scale 0, guidance is composed of the two (Liu et al. 2022, eq. 11): for pairs never seen together."""
    modality_scale: float = Field(0.0, ge=0.0, le=50.0)
    """As pathology_scale."""
    guide: Literal["cfg", "early"] = "cfg"
    """What guidance by guidance_scale alone leads away from: cfg, the denoiser without a cell; early, an early state of
    it without the pathology, which `denoiser.early_share` has kept (autoguidance: Karras et al. 2024)."""
    guidance_interval: tuple[Share, Share] = (0.0, 1.0)
    """Part of the schedule in which guidance acts, 0 being the clean end (Kynkäänniemi et al. 2024); elsewhere the
    denoiser is asked once, with all conditions."""
    compute_batch: int = Field(8, ge=1, le=1024)
    """Samples that the networks see at once; short batches are padded to it, so that no
    neighbour changes a bit of a sample."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What the networks compute in; the solver's sums are float32. bf16 pays on GPUs, and on CPUs with AVX512-BF16 or
    AMX, and gives other samples: nearly the same ones, not the same bits."""

    def __str__(self) -> str:
        """Every setting by its name, as cards and pages tell them."""
        return ", ".join(f"{name.replace('_', ' ')} {setting_text(value)}" for name, value in self)

    @property
    def guidance_terms(self) -> tuple[str, ...]:
        """The scales whose terms are computed, beside the null; none without guidance."""
        terms = tuple(name for name in NO_GUIDANCE if getattr(self, name))
        return () if terms == ("guidance_scale",) and self.guidance_scale == 1.0 else terms or ("guidance_scale",)

    @property
    def leads_from_early(self) -> bool:
        """Whether guidance is measured from an early state of the denoiser."""
        return self.guide == "early" and self.guidance_terms == ("guidance_scale",)

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What samples must agree in to share a compute batch."""
        alike = self.solver, self.num_steps, self.compute_batch, self.precision
        return *alike, self.guide, self.guidance_terms, self.guidance_interval

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.guidance_interval[0] > self.guidance_interval[1]:
            raise ValueError(f"guidance_interval {list(self.guidance_interval)} must be [lower, upper]")
        return self


def setting_text(value: object) -> str:
    """The value of a setting as a page shows it."""
    if isinstance(value, list | tuple):
        return "-".join(map(setting_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
