"""The model card: what a model folder's README says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from mrigen.config import Config, DataConfig, TrainingConfig
from mrigen.labels import Cell, Modality, Pathology

_CARD = """\
---
library_name: mrigen
pipeline_tag: unconditional-image-generation
tags: [medical, mri, brain, synthetic, diffusion]
license: other
license_name: that-of-the-training-images
---
# Conditional brain MRI: a {kind} diffusion model

Made by mrigen {version}. It draws {plane} brain slices of {size} x {size} pixels at {spacing:g} mm for a pathology and
an acquisition modality. The images are synthetic: they are no scans and not for diagnosis. Synthetic is not anonymous:
audit a model before you share it or its samples.

It was {trained_on}.
{licences}

## Training images of each cell

{cells}

A cell with 0 was never seen in training; it is generated only on request (`--allow-untrained`) and marked.

## Model

- {codec}
- denoiser: {denoiser} {tokens},
  {parameters:.2f} M parameters with its conditioning; predicts {prediction}, {schedule} schedule
- training: {steps}
  (denoiser), seed {seed}
- settings: `mrigen_config.json` (hash {digest})

## Use

    mrigen generate --model FOLDER --out OUT --per-cell 10

with this folder for FOLDER makes the cells that were trained on; `--cells {example}` chooses among them. In Python:
`mrigen.pipeline.Pipeline.load(folder)`. Diffusers alone reads {in_diffusers}.{choice}
"""


_DENOISERS = {
    "unet": "diffusers' UNet2DConditionModel with cross-attention to",
    "conv": "mrigen's ConvUNet, without norms, whose positions attend to each other and to",
}
_AUTOENCODERS = {"kl": "diffusers' AutoencoderKL", "conv": "mrigen's ConvAutoencoder, without norms"}


def is_phantom(source: str) -> bool:
    """Whether images of this source were computed by `mrigen phantom`, not scanned."""
    return source.startswith("mrigen phantom")


def shows_brains_alone(data: DataConfig, sources: Collection[str]) -> bool:
    """Whether images of these sources are known to show no skull: heads were stripped, or phantoms, which have none."""
    return data.head == "strip" or (bool(sources) and all(map(is_phantom, sources)))


def trained_on(sources: Collection[str]) -> str:
    """What is to be said of a model by the data sets that its training images came from: `trained on ...`."""
    if not sources:
        return "trained on data that its folder does not name"
    phantom = "a phantom cohort: anatomy made by computation, not scans of people"
    if all(map(is_phantom, sources)):
        return f"trained on {phantom}"
    named = f"trained on images from {', '.join(sorted(sources))}"
    return f"{named}; in part on {phantom}" if any(map(is_phantom, sources)) else named


def under_licences(licences: Collection[str]) -> str:
    """What is to be said of the licences of a model's training images, a sentence."""
    if not licences:
        return "The model folder does not tell under which licences its training images were."
    return f"Licences of the training images: {'; '.join(sorted(licences)).rstrip('.')}."


def cells_table(told: Callable[[Cell], object]) -> str:
    """A table in Markdown of what is told of every cell: a row for each pathology, a column for each modality."""
    rows = [["pathology", *Modality], ["---"] * (1 + len(Modality))]
    rows += [[pathology, *(str(told(Cell(pathology, modality))) for modality in Modality)] for pathology in Pathology]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def model_card(
    config: Config,
    counts: Mapping[Cell, int],
    sources: Collection[str],
    licences: Collection[str],
    told_apart: Collection[str],
    num_parameters: int,
    version: str,
) -> str:
    """The card of a model trained with `config` on `counts` images of each cell from `sources` under `licences`, of
    which it tells some apart, as Markdown."""
    if config.codec == "pixels":
        kind, codec, steps = "pixel", "no autoencoder: the denoiser works on the images themselves", ""
    else:
        kind = "latent"
        codec = (
            f"autoencoder: {_AUTOENCODERS[config.autoencoder.network]}, "
            f"{config.autoencoder.latent_channels} latent channels, "
            f"downsampling {config.autoencoder.downsampling}"
        )
        steps = f"{_steps(config.autoencoder.training, 'images')} (autoencoder), "
    steps += _steps(config.denoiser.training, "images" if kind == "pixel" else "latents")
    if config.denoiser.adapter_rank:
        steps += f", by adapters of rank {config.denoiser.adapter_rank}"
    in_diffusers = {
        "`vae/`": kind == "latent" and config.autoencoder.network == "kl",
        "`unet/`": config.denoiser.network == "unet",
        "`scheduler/`": True,
    }
    tokens = ["pathology", "modality", "slice position", *["source"] * bool(told_apart)]
    names = "\n".join(f"- `{source}`" for source in told_apart)
    return _CARD.format(
        kind=kind,
        codec=codec,
        steps=steps,
        in_diffusers=" and ".join(name for name, loads in in_diffusers.items() if loads),
        denoiser=_DENOISERS[config.denoiser.network],
        tokens=f"{'four' if told_apart else 'three'} tokens ({', '.join(tokens)})",
        choice=f"\n\n`--source` takes one of these; without it samples are of their average:\n\n{names}"
        * bool(told_apart),
        plane=config.data.plane,
        size=config.data.image_size,
        spacing=config.data.spacing_mm,
        version=version,
        cells=cells_table(counts.__getitem__),
        parameters=num_parameters / 1e6,
        schedule=config.diffusion.schedule,
        prediction=config.diffusion.prediction,
        seed=config.seed,
        digest=config.digest()[:12],
        trained_on=trained_on(sources),
        licences=under_licences(licences),
        example=next((cell for cell, count in counts.items() if count), ""),
    )


def _steps(training: TrainingConfig, what: str) -> str:
    begun = f" from model {training.started_from[:12]} on" if training.started_from else ""
    return f"{training.num_steps} steps of {training.batch_size} {what}{begun}"
