"""How far reconstructions are from real images: without noise, with the model's and other noise, and of latents that
are somewhat wrong, as a denoiser's are.

    python -m docs.benchmarks.reconstruction_noise RUN [IMAGES]

Of RUN, a folder with `data/` and `vae/`, restores IMAGES (1000) held-out images, drawn at random, and compares them by
KID (EfficientNet-Lite0) with as many of the training subjects: no subject is on both sides. Prints a table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from docs.benchmarks.held_out import BATCH, HeldOut
from mrigen.metrics.image_quality import psnr
from mrigen.model_folder.files import load_autoencoder
from mrigen.models.autoencoder import Autoencoder, Decoded
from mrigen.models.texture import BACKGROUND
from mrigen.storage import Location

STRENGTHS = (0.5, 1.0, 1.5)
LEVELS = (0.05, 0.1, 0.2, 0.3)


@torch.inference_mode()
def decoded(model: Autoencoder, images: Tensor, level: float = 0.0) -> Decoded:
    """Images -> the distributions of their reconstructions, by the mean of the posterior and noise on it of `level`
    standard deviations of a channel."""
    means = torch.cat([model.encode(batch).mean for batch in images.split(BATCH)])
    spread = means.std(dim=(0, 2, 3), keepdim=True)
    wrong = means + level * spread * torch.randn(means.shape, generator=torch.Generator().manual_seed(1))
    parts = [model.decoded(batch) for batch in wrong.split(BATCH)]
    logvars = [part.logvar for part in parts if part.logvar is not None]
    return Decoded(torch.cat([part.mean for part in parts]), torch.cat(logvars) if logvars else None)


def restored(model: Autoencoder, images: Tensor) -> dict[str, Tensor]:
    """By name, the reconstructions that are compared."""
    found = decoded(model, images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    ways = {"themselves": images, "the mean alone": found.mean}
    residual, brain = images - found.mean.clamp(-1, 1), images > BACKGROUND
    spread = (residual.square() * brain).sum((1, 2, 3)) / brain.sum((1, 2, 3))
    ways["noise as strong as the residual of each image"] = (
        found.mean + spread.sqrt()[:, None, None, None] * brain * noise
    )
    if found.logvar is not None:
        drawn = found.textured(noise) - found.mean
        ways |= {f"noise of the model, times {strength:g}": found.mean + strength * drawn for strength in STRENGTHS}
    for level in LEVELS:
        ways[f"noise of the model, latents wrong by {level:g} of their spread"] = decoded(
            model, images, level
        ).textured(noise)
    return {name: way.clamp(-1, 1) for name, way in ways.items()}


def main() -> None:
    run, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    held_out = HeldOut.read(Location.parse(run), count)
    print("| held-out images | PSNR, dB | KID |\n| --- | --- | --- |")
    for name, pixels in restored(load_autoencoder(run / "vae"), held_out.images).items():
        decibels = float(torch.tensor(psnr(pixels, held_out.images).tolist()).mean())
        print(f"| {name} | {decibels:.1f} | {held_out.kid(pixels, name)} |", flush=True)


if __name__ == "__main__":
    main()
