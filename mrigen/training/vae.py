"""The training loop of the autoencoder: images in, `vae/` out."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion.sampling import sample_noise
from mrigen.errors import InputError
from mrigen.model_folder.files import save_autoencoder
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.losses import AutoencoderObjective
from mrigen.models.texture import BACKGROUND
from mrigen.records import prepared_parts
from mrigen.run import deciding_settings, finish, is_finished, require_finished
from mrigen.storage import Location
from mrigen.training.checkpoints import Checkpoints
from mrigen.training.fine_tuning import load_start
from mrigen.training.journal import Journal, Report, Stop, is_due, never
from mrigen.training.places import Array, Places, evenly_spaced
from mrigen.training.prefetch import prefetched, to_device
from mrigen.training.rows import TrainingRows
from mrigen.training.state import TrainingState

NUM_PREVIEWS = 8
NUM_VALIDATION = 128


def train_autoencoder(
    config: Config, run: Location, accelerator: Accelerator, report: Report, stop: Stop = never
) -> None:
    """Train on the `train` split of `run/data`, resuming where a killed run stopped; leaves `run/vae`.

    Called by every worker of a process group alike; `accelerator` knows the rank. `report` is called by the
    first, which also asks whether to `stop`: then it leaves a checkpoint and raises Stopped. Raises InputError if there
    is nothing to train on, or if `run/vae` holds other settings' work.
    """
    if is_finished(run, config, "vae"):
        return
    settings, device = config.autoencoder.training, accelerator.device
    world, rank = accelerator.num_processes, accelerator.process_index
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        prepared_parts(run / "data")
        require_finished(run, config, "data", "prepare")
        masks = ["lesions"] if config.autoencoder.lesion_weight else []
        rows = TrainingRows(run / "data", "train", ["image", *masks], Path(scratch), config.held_out_cells)
        validation = TrainingRows(run / "data", "val", ["image"], Path(scratch), config.held_out_cells)
        if not len(rows):
            raise InputError(f"{run / 'data'} holds no training image: its `train` split is empty")

        torch.manual_seed(config.seed)
        model = Autoencoder.build(config)
        if (start := load_start(run / "vae", settings)) and isinstance(start[0].codec, Autoencoder):
            model.load_state_dict(start[0].codec.state_dict())
        if config.autoencoder.frozen_encoder:
            if not start:
                raise InputError("autoencoder.frozen_encoder trains the decoder of a model, which is given by --from")
            model.freeze_encoder()
        objective = AutoencoderObjective(model, config.autoencoder).to(device)
        order = rows.order()

        def ids(step: int) -> list[str]:
            return rows.ids(order.batch(settings.batch_size, config.seed, step))

        def prepare(step: int) -> list[AutoencoderBatch]:
            places = Places.of_rank(rank, world, settings.batch_size, config.seed, step)
            parts = places.parts(settings.micro_batch_size)
            return [AutoencoderBatch.of(rows, part.rows(order), part, config).to(device) for part in parts]

        def terms_of(step: int, batch: AutoencoderBatch) -> dict[str, Tensor]:
            terms: dict[str, Tensor] = state.network(
                batch.images, batch.noise, batch.levels, batch.texture_noise, batch.lesions, step
            )
            return terms

        deciding = deciding_settings(config, "vae")
        checkpoints = Checkpoints(run / "vae" / "checkpoints", deciding)
        state = TrainingState(objective, settings, accelerator, checkpoints, ids)
        image_at_peak_s = state.rehearse(prepare(state.first_step), terms_of)
        journal = None
        if accelerator.is_main_process:
            journal = Journal(run / "vae", settings, state.first_step, report, image_at_peak_s, deciding)

        for step, batches, waited in prefetched(prepare, range(state.first_step, settings.num_steps)):
            terms = state.update(step, batches, terms_of, watched="l1")  # a discriminator's word can be negative
            done = step + 1
            if journal:
                journal.step(done, terms, waited)
            if journal and is_due(done, settings.preview_every, settings) and len(validation):
                images = validation.tensor("image", evenly_spaced(len(validation), NUM_VALIDATION))[:, None]
                with state.averaged():
                    psnr, sheet = validate(model, images.to(device))
                journal.scalars(done, {"val_psnr": psnr})
                journal.preview(done, sheet, len(sheet) // 2)
            if journal and state.keep(done, stopping=stop()):
                journal.flush()

        if journal:
            with state.averaged():
                save_autoencoder(run / "vae", model, config)
            journal.close()
            finish(run, config, "vae")
            checkpoints.delete()
        accelerator.wait_for_everyone()


@dataclass(frozen=True)
class AutoencoderBatch:
    """Images (B, 1, *spatial), noise of their posteriors (B, C, *spatial / f) and its levels beyond them (B, 1, ...),
    noise of their textures (B, 1, *spatial), and their lesions where they weigh more: 1 within, 0 without or where no
    mask is known."""

    images: Tensor
    noise: Tensor
    levels: Tensor
    texture_noise: Tensor
    lesions: Tensor | None

    @classmethod
    def of(cls, rows: TrainingRows, numbers: Array, places: Places, config: Config) -> AutoencoderBatch:
        """The rows of these numbers, which stand at `places`, cut to crops where the configuration says so."""
        settings = config.autoencoder
        shape = tuple(settings.crop_size or side for side in config.data.image_shape)
        dims, latent, spatial = len(shape), settings.latent_shape(shape), (1, *shape)
        uniform, normal = places.draw(dims + 1, (math.prod(latent) + math.prod(spatial),))
        noise, texture_noise = torch.split(normal, [math.prod(latent), math.prod(spatial)], dim=1)
        levels = (settings.latent_noise * uniform[:, dims]).float().view(-1, *[1] * len(latent))
        images = rows.tensor("image", numbers)
        lesions = rows.tensor("lesions", numbers) if settings.lesion_weight else None
        if settings.crop_size is not None:
            corners = crop_corners(images, settings.crop_size, uniform[:, :dims])
            images = cropped(images, settings.crop_size, corners)
            lesions = None if lesions is None else cropped(lesions, settings.crop_size, corners)
        lesions = None if lesions is None else lesions[:, None]
        return cls(images[:, None], noise.reshape(-1, *latent), levels, texture_noise.reshape(-1, *spatial), lesions)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> AutoencoderBatch:
        """The same batch on `device`."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: to_device(one, device) for name, one in tensors.items() if one is not None})


def crop_corners(images: Tensor, side: int, uniform: Tensor) -> list[list[int]]:
    """First corners of crops of images (B, *spatial), by uniform numbers (B, dims).

    A crop lies within its image and, along each axis, within the foreground's extent, or around it where that is less.
    """
    corners = []
    for image, numbers in zip(images, uniform, strict=True):
        inside = (image > BACKGROUND).nonzero()
        corner = []
        for axis, number in enumerate(numbers.tolist()):
            size = image.shape[axis]
            first, last = (int(inside[:, axis].min()), int(inside[:, axis].max()) + 1) if len(inside) else (0, size)
            low, high = sorted((first, last - side))
            corner.append(min(max(low + int(number * (high - low + 1)), 0), size - side))
        corners.append(corner)
    return corners


def cropped(images: Tensor, side: int, corners: Sequence[Sequence[int]]) -> Tensor:
    """(B, *spatial) -> (B, side, ...), one crop of each from its corner on."""
    pieces = [
        image[tuple(slice(first, first + side) for first in corner)]
        for image, corner in zip(images, corners, strict=True)
    ]
    return torch.stack(pieces)


@torch.no_grad()
def validate(model: Autoencoder, images: Tensor) -> tuple[float, Tensor]:
    """Mean PSNR in dB of the reconstructions of `images`, and a sheet: some images, then their reconstructions."""
    texture_noise = sample_noise(range(len(images)), tuple(images.shape[1:])).to(images.device)
    batches = zip(torch.split(images, 32), torch.split(texture_noise, 32), strict=True)
    restored = torch.cat([model.decode(model.encode(batch).mean, noise) for batch, noise in batches])
    error = (restored.clamp(-1, 1) - images).square().mean(dim=tuple(range(1, images.dim())))
    some = torch.linspace(0, len(images) - 1, min(NUM_PREVIEWS, len(images))).long()
    return float((10 * torch.log10(4.0 / error)).mean()), torch.cat([images[some], restored[some]])
