"""The model card: what a model folder's README says."""

from __future__ import annotations

from collections.abc import Mapping

from mrigen.config import Config
from mrigen.labels import Cell, Modality, Pathology

_CARD = """\
# Conditional brain MRI: a latent diffusion model

Made by mrigen {version}. It draws axial brain slices of {size} x {size} pixels at {spacing:g} mm for a pathology and an
acquisition modality. The images are synthetic: they show no person and are not for diagnosis. Synthetic is not
anonymous: audit a model before you share it or its samples.

## Training images of each cell

| pathology | {modalities} |
| --- | {rule} |
{rows}

A cell with 0 was never seen in training; it is generated only on request and marked.

## Model

- autoencoder: diffusers' AutoencoderKL, {latent_channels} latent channels, downsampling {downsampling}
- denoiser: diffusers' UNet2DConditionModel with cross-attention on three tokens (pathology, modality, slice position),
  {parameters:.2f} M parameters with its conditioning; v-prediction, {schedule} schedule
- training: {vae_steps} steps of {vae_batch} images (autoencoder), {ldm_steps} steps of {ldm_batch} latents
  (denoiser), seed {seed}
- settings: `mrigen_config.json` (hash {digest})

## Use

    mrigen generate --model FOLDER --out OUT --per-cell 10

or `mrigen.pipeline.Pipeline.load(folder)` in Python. `vae/`, `unet/` and `scheduler/` each load in diffusers.
"""


def model_card(config: Config, counts: Mapping[Cell, int], num_parameters: int, version: str) -> str:
    """The card of a model trained with `config` on `counts` images of each cell, as Markdown."""
    rows = [
        f"| {pathology} | " + " | ".join(str(counts[Cell(pathology, modality)]) for modality in Modality) + " |"
        for pathology in Pathology
    ]
    return _CARD.format(
        version=version,
        size=config.data.image_size,
        spacing=config.data.spacing_mm,
        modalities=" | ".join(Modality),
        rule=" | ".join("---" for _ in Modality),
        rows="\n".join(rows),
        latent_channels=config.autoencoder.latent_channels,
        downsampling=config.autoencoder.downsampling,
        parameters=num_parameters / 1e6,
        schedule=config.diffusion.schedule,
        vae_steps=config.autoencoder.training.num_steps,
        vae_batch=config.autoencoder.training.batch_size,
        ldm_steps=config.denoiser.training.num_steps,
        ldm_batch=config.denoiser.training.batch_size,
        seed=config.seed,
        digest=config.digest()[:12],
    )
