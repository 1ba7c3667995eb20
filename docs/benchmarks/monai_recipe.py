"""A plain MONAI recipe beside a run of ours: the same images, the same seconds of one thread, KID of what each draws.

    pip install 'monai>=1.4' einops    # for this script alone
    python docs/benchmarks/monai_recipe.py RUN [--widths tutorial] [--widths ours] [--count 400] [--seconds 60 60]

RUN is a finished run folder. For as long as the steps of its autoencoder and of its denoiser took by its journals, or
for `--seconds` where it was trained beside other work, trains the two networks of MONAI's tutorial
(Project-MONAI/tutorials, generation/2d_ldm, 2d_ldm_tutorial.ipynb) on RUN's training images, with the numbers of the
tutorial: batches of 64, its augmentation, L1 + 1e-6 KL + 0.01 of a least-squares patch discriminator, which joins
after the first tenth, Adam of 1e-4, 5e-4 and 1e-4, noise predicted under a linear schedule; in bf16 where RUN was
trained in it. Its widths are the tutorial's, then such as give about as many parameters as ours. As the tutorial's,
its model knows no labels. Two things differ: there is no perceptual loss, whose weights MONAI downloads, and samples
take 50 steps of DDIM, where 1,000 of DDPM would take hours; these do not clip latents to [-1, 1], as MONAI's
schedulers do unless told.

Prints KID (EfficientNet-Lite0, all images of a set taken together) between held-out images and COUNT samples of each,
ours of the cells and heights of training images drawn at random; between held-out images restored by each and those
training images; between the two sets of real images, the floor; and what of their KID is above the floor, over ours.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from mrigen.config import EvaluationConfig
from mrigen.features.efficientnet import COMPUTE_BATCH, FeatureExtractor
from mrigen.labels import Cell, Pathology
from mrigen.metrics.kernel import Kid, kid
from mrigen.metrics.resampling import ImageSet, interval, seeded
from mrigen.pipeline import Pipeline
from mrigen.records import read_table
from mrigen.samples import SampleRequest, sample_seed
from mrigen.storage import Location
from mrigen.training.journal import LINES
from mrigen.training.rows import TrainingRows

try:
    from monai.inferers import LatentDiffusionInferer
    from monai.losses.adversarial_loss import PatchAdversarialLoss
    from monai.networks.nets import AutoencoderKL, DiffusionModelUNet, PatchDiscriminator
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
    from monai.transforms import RandAffine
except ImportError as error:
    raise SystemExit(f"{error}: this script needs pip install 'monai>=1.4' einops") from None

BATCH, LATENT_CHANNELS, NUM_BOOTSTRAPS, DDIM_STEPS = 64, 3, 1000, 50
TUTORIAL_WIDTHS = 128, 128
NOISE = {"schedule": "linear_beta", "beta_start": 0.0015, "beta_end": 0.0195}


def autoencoder_of(width: int) -> AutoencoderKL:
    return AutoencoderKL(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        latent_channels=LATENT_CHANNELS,
        num_res_blocks=2,
        channels=(width, width, 2 * width),
        attention_levels=(False, False, False),
        norm_num_groups=width // 4,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )


def denoiser_of(width: int) -> DiffusionModelUNet:
    return DiffusionModelUNet(
        spatial_dims=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_res_blocks=2,
        channels=(width, 2 * width, 4 * width),
        attention_levels=(False, True, True),
        num_head_channels=(0, 2 * width, 4 * width),
        norm_num_groups=width // 4,
    )


def size(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def stepped(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def batches(images: Tensor, seconds: float) -> Iterator[tuple[float, Tensor]]:
    """The share of `seconds`, of this process, that is over, and images (B, 1, S, S), moved as in the tutorial."""
    turn, shift, zoom = [(-np.pi / 36, np.pi / 36)], [(-1, 1)] * 2, [(-0.05, 0.05)] * 2
    moved = RandAffine(prob=0.5, rotate_range=turn, translate_range=shift, scale_range=zoom, padding_mode="zeros")
    moved.set_random_state(0)
    began = time.process_time()
    while True:
        for rows in torch.randperm(len(images)).split(BATCH):
            batch = torch.stack([moved(image).as_tensor() for image in images[rows]])
            if (share := (time.process_time() - began) / seconds) >= 1:
                return
            yield share, batch


def train_autoencoder(images: Tensor, width: int, seconds: float, computed: torch.autocast) -> AutoencoderKL:
    network = autoencoder_of(width)
    discriminator = PatchDiscriminator(spatial_dims=2, num_layers_d=3, channels=width // 2, in_channels=1)
    judged = PatchAdversarialLoss(criterion="least_squares")
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), 5e-4)
    errors = []
    for share, batch in batches(images, seconds):
        with computed:
            restored, mean, sigma = network(batch)
            divergence = 0.5 * (mean.float() ** 2 + sigma.float() ** 2 - torch.log(sigma.float() ** 2) - 1)
            errors.append(functional.l1_loss(restored.float(), batch))
            loss = errors[-1] + 1e-6 * divergence.sum() / len(batch)
            if share > 0.1:
                fake = discriminator(restored.contiguous())[-1]
                loss = loss + 0.01 * judged(fake.float(), target_is_real=True, for_discriminator=False)
        stepped(optimizer, loss)
        if share > 0.1:
            with computed:
                fake, real = (discriminator(x)[-1].float() for x in (restored.detach().contiguous(), batch))
                wrong = judged(fake, target_is_real=False, for_discriminator=True)
                wrong = wrong + judged(real, target_is_real=True, for_discriminator=True)
            stepped(of_discriminator, 0.01 * 0.5 * wrong)
        errors[-1] = errors[-1].item()
    print(
        f"  autoencoder: {size(network):,} parameters, {len(errors)} steps, L1 {np.mean(errors[-20:]):.4f}", flush=True
    )
    return network.eval().requires_grad_(False)


def train_denoiser(
    images: Tensor, width: int, seconds: float, autoencoder: AutoencoderKL, computed: torch.autocast
) -> tuple[DiffusionModelUNet, float]:
    """The network, and what latents are multiplied by before it."""
    network = denoiser_of(width)
    with torch.no_grad(), computed:
        factor = 1 / float(autoencoder.encode_stage_2_inputs(images[:BATCH]).float().std())
    scheduler = DDPMScheduler(num_train_timesteps=1000, **NOISE)
    inferer = LatentDiffusionInferer(scheduler, scale_factor=factor)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    models, errors = {"autoencoder_model": autoencoder, "diffusion_model": network}, []
    for _, batch in batches(images, seconds):
        noise = torch.randn(len(batch), LATENT_CHANNELS, *(side // 4 for side in batch.shape[2:]))
        timesteps = torch.randint(0, 1000, (len(batch),))
        with computed:
            predicted = inferer(inputs=batch, noise=noise, timesteps=timesteps, **models)
            loss = functional.mse_loss(predicted.float(), noise)
        stepped(optimizer, loss)
        errors.append(loss.item())
    print(f"  denoiser: {size(network):,} parameters, {len(errors)} steps, MSE {np.mean(errors[-20:]):.4f}", flush=True)
    return network.eval(), factor


def drawn(
    network: DiffusionModelUNet, autoencoder: AutoencoderKL, factor: float, shape: torch.Size, computed: torch.autocast
) -> Tensor:
    """Samples of `shape` (N, 1, S, S) in [0, 1]."""
    scheduler = DDIMScheduler(num_train_timesteps=1000, clip_sample=False, **NOISE)
    scheduler.set_timesteps(DDIM_STEPS)
    inferer = LatentDiffusionInferer(scheduler, scale_factor=factor)
    noise = torch.randn(shape[0], LATENT_CHANNELS, shape[2] // 4, shape[3] // 4)
    with computed:
        return in_batches(lambda x: inferer.sample(x, autoencoder, network, scheduler, verbose=False), noise)


@torch.no_grad()
def in_batches(made: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    return torch.cat([made(some).float() for some in inputs.split(COMPUTE_BATCH)])


def trained_seconds(folder: Path, batch_size: int) -> float:
    """What the steps of a training took by the clock, pauses between its starts not counted."""
    lines = [json.loads(line) for line in (folder / LINES).read_text().splitlines()]
    logged = [(line["step"], line["images_per_s"]) for line in lines if "images_per_s" in line]
    steps, rates = np.array(logged).T
    return float((np.diff(steps, prepend=0) * batch_size / rates).sum())


def told(found: Kid) -> str:
    low, high = interval(found.draws) if found.draws is not None else (float("nan"), float("nan"))
    return f"{found.value:.3f} ({low:.3f} to {high:.3f})"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--widths", type=click.Choice(["tutorial", "ours"]), multiple=True, default=["tutorial", "ours"])
@click.option("--count", default=400)
@click.option("--seconds", type=float, nargs=2)
def main(run: Path, widths: tuple[str, ...], count: int, seconds: tuple[float, float] | None) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pipeline, extract = Pipeline.load(run / "model"), FeatureExtractor(EvaluationConfig().feature_size)
    config, codec, denoiser = pipeline.config, pipeline.model.codec, pipeline.model.denoiser
    computed = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")
    sections = (("vae", config.autoencoder), ("ldm", config.denoiser))
    seconds = seconds or tuple(trained_seconds(run / name, x.training.batch_size) for name, x in sections)
    data, pixels, labels = Location.parse(run) / "data", {}, {}
    table = read_table(data, ["split", "subject", "pathology", "modality", "slice_mm"]).to_pylist()
    with tempfile.TemporaryDirectory() as scratch:
        for split in ("train", "test"):
            rows = TrainingRows(data, split, ["image"], Path(scratch))
            pixels[split] = rows.tensor("image", np.arange(len(rows)))[:, None]
            labels[split] = [row for row in table if row["split"] == split]
    chosen = {split: np.random.default_rng(0).permutation(len(labels[split]))[:count] for split in labels}
    training, held_out = (pixels[split][chosen[split]] for split in ("train", "test"))

    def image_set(images: Tensor, split: str | None = None) -> ImageSet:
        """With the subjects of the images of `split`, or samples, each of a subject of its own."""
        of = [labels[split][row] for row in chosen[split]] if split else []
        owners = [row["subject"] for row in of] or [str(place) for place in range(len(images))]
        strata = [Pathology(row["pathology"]).row for row in of] or [0] * len(images)
        return ImageSet.of(in_batches(extract, images.clamp(-1, 1)), owners, [0] * len(images), strata)

    references = {"train": image_set(training, "train"), "test": image_set(held_out, "test")}

    def distances(restored: Tensor, samples: Tensor) -> tuple[Kid, Kid]:
        # The same seed, so that all are measured against the same draws of held-out subjects.
        of_restored = kid(references["train"], image_set(restored, "test"), NUM_BOOTSTRAPS, seeded("monai"))
        return of_restored, kid(references["test"], image_set(samples), NUM_BOOTSTRAPS, seeded("monai"))

    floor = kid(references["test"], references["train"], NUM_BOOTSTRAPS, seeded("monai"))
    requests = []
    for number, row in enumerate(labels["train"][place] for place in chosen["train"]):
        cell = Cell.parse(f"{row['pathology']}:{row['modality']}")
        requests.append(SampleRequest(cell, sample_seed(0, cell, number), config.sampler, row["slice_mm"]))
    restored = in_batches(lambda x: codec.decode(codec.encode(x).mean, torch.randn_like(x)), held_out)
    samples = torch.from_numpy(np.stack([sample.image for sample in pipeline.sample(requests)]))[:, None]
    of_restored, ours = distances(restored, samples)
    print(f"{len(requests)} samples, {len(held_out)} held-out images, {len(pixels['train'])} to train on")
    print("{:.0f} s for the autoencoder, {:.0f} s for the denoiser".format(*seconds))
    print(f"real: {told(floor)}")
    print(f"ours, {size(codec):,} and {size(denoiser):,} parameters")
    print(f"  restored {told(of_restored)}, samples {told(ours)}", flush=True)

    def nearest(build: type, target: int) -> int:
        with torch.device("meta"):
            return min(range(8, 129, 4), key=lambda width: abs(size(build(width)) - target))

    for name in widths:
        print(f"MONAI, widths of {name}", flush=True)
        of_ours = nearest(autoencoder_of, size(codec)), nearest(denoiser_of, size(denoiser))
        width, of_denoiser = TUTORIAL_WIDTHS if name == "tutorial" else of_ours
        images = (pixels["train"] + 1) / 2  # as the tutorial's are
        autoencoder = train_autoencoder(images, width, seconds[0], computed)
        network, factor = train_denoiser(images, of_denoiser, seconds[1], autoencoder, computed)
        samples = drawn(network, autoencoder, factor, training.shape, computed)
        with computed:
            restored = in_batches(autoencoder.reconstruct, (held_out + 1) / 2)
        of_restored, theirs = distances(restored * 2 - 1, samples * 2 - 1)
        print(f"  restored {told(of_restored)}, samples {told(theirs)}")
        draws = [(x.draws - floor.draws) for x in (theirs, ours) if x.draws is not None and floor.draws is not None]
        over = Kid((theirs.value - floor.value) / (ours.value - floor.value), draws[0] / draws[1] if draws else None)
        print(f"  KID of samples above that of real images, over ours: {told(over)}", flush=True)


if __name__ == "__main__":
    main()
