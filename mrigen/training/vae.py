"""The training loop of the autoencoder: images in, `vae/` out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from mrigen.checkpoint import save_autoencoder
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.losses import autoencoder_loss
from mrigen.records import prepared_parts
from mrigen.run import finish, is_finished, stage_digest
from mrigen.storage import Location
from mrigen.training.data import Places, TrainingRows, evenly_spaced
from mrigen.training.journal import Journal, Report
from mrigen.training.prefetch import prefetched, to_device
from mrigen.training.state import Checkpoints, TrainingState

NUM_PREVIEWS = 8
NUM_VALIDATION = 128


def train_autoencoder(config: Config, run: Location, accelerator: Accelerator, report: Report) -> None:
    """Train on the `train` split of `run/data`, resuming where a killed run stopped; leaves `run/vae`.

    Called by every worker of a process group alike; `accelerator` knows the rank. `report` is called by the
    first. Raises InputError if there is nothing to train on, or if `run/vae` holds other settings' work.
    """
    if is_finished(run, config, "vae"):
        return
    settings, device = config.autoencoder.training, accelerator.device
    world, rank = accelerator.num_processes, accelerator.process_index
    if settings.batch_size % world:
        raise InputError(f"autoencoder.training.batch_size {settings.batch_size} is no multiple of {world} workers")
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        prepared_parts(run / "data")
        rows = TrainingRows(run / "data", "train", ["image"], Path(scratch), config.held_out_cells)
        validation = TrainingRows(run / "data", "val", ["image"], Path(scratch), config.held_out_cells)
        if not len(rows):
            raise InputError(f"{run / 'data'} holds no training image: its `train` split is empty")

        torch.manual_seed(config.seed)
        model = Autoencoder.build(config).to(device)
        checkpoints = Checkpoints(run / "vae" / "checkpoints", stage_digest(config, "vae"))
        state = TrainingState(model, settings, accelerator, checkpoints)
        journal = Journal(run / "vae", settings, state.first_step, report) if accelerator.is_main_process else None

        def prepare(step: int) -> tuple[Tensor, Tensor]:
            places = Places.of_rank(rank, world, settings.batch_size, config.seed, step)
            images, noise = autoencoder_batch(rows, places, config.latent_shape)
            return to_device(images, device), to_device(noise, device)

        for step, (images, noise) in prefetched(prepare, range(state.first_step, settings.num_steps)):
            reconstruction, posterior = state.network(images, noise)
            terms = autoencoder_loss(reconstruction, images, posterior, config.autoencoder)
            state.update(step, terms["loss"])
            done = step + 1
            if journal:
                journal.step(done, terms)
            if journal and journal.preview_due(done) and len(validation):
                images = validation.tensor("image", evenly_spaced(len(validation), NUM_VALIDATION))[:, None]
                with state.averaged():
                    psnr, sheet = validate(model, images.to(device))
                journal.scalars(done, {"val_psnr": psnr})
                journal.preview(done, sheet, len(sheet) // 2)
            if journal and done % settings.checkpoint_every == 0 and done < settings.num_steps:
                state.save(done)
                journal.flush()

        if journal:
            with state.averaged():
                save_autoencoder(run / "vae", model, config)
            journal.close()
            finish(run, config, "vae")
            checkpoints.delete()
        accelerator.wait_for_everyone()


def autoencoder_batch(rows: TrainingRows, places: Places, latent_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Images (B, 1, *spatial) and the noise of their posteriors (B, *latent_shape) at some places of a global batch."""
    images = rows.tensor("image", places.rows(len(rows)))[:, None]
    _, noise = places.draw(0, latent_shape)
    return images, noise


@torch.no_grad()
def validate(model: Autoencoder, images: Tensor) -> tuple[float, Tensor]:
    """Mean PSNR in dB of the reconstructions of `images`, and a sheet: some images, then their reconstructions."""
    restored = torch.cat([model.decode(model.encode(batch).mean) for batch in torch.split(images, 32)])
    error = (restored.clamp(-1, 1) - images).square().mean(dim=tuple(range(1, images.dim())))
    some = torch.linspace(0, len(images) - 1, min(NUM_PREVIEWS, len(images))).long()
    return float((10 * torch.log10(4.0 / error)).mean()), torch.cat([images[some], restored[some]])
