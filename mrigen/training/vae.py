"""The training loop of the autoencoder: images in, `vae/` out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from mrigen.checkpoint import save_autoencoder
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.models.autoencoder import Autoencoder
from mrigen.models.losses import autoencoder_loss
from mrigen.records import prepared_parts
from mrigen.run import finish, is_finished, stage_digest
from mrigen.storage import Location
from mrigen.training.data import TrainingRows, batch_rows, step_generator
from mrigen.training.journal import Journal, Report
from mrigen.training.state import Checkpoints, learning_rate

NUM_PREVIEWS = 8
NUM_VALIDATION = 128


def train_autoencoder(config: Config, run: Location, accelerator: Accelerator, report: Report) -> None:
    """Train on the `train` split of `run/data`, resuming where a killed run stopped; leaves `run/vae`.

    Called by every worker of a process group alike; `accelerator` knows the rank. `report` is called by the
    first. Raises InputError if there is nothing to train on, or if `run/vae` holds other settings' work.
    """
    if is_finished(run, config, "vae"):
        return
    settings = config.autoencoder.training
    world, rank = accelerator.num_processes, accelerator.process_index
    if settings.batch_size % world:
        raise InputError(f"autoencoder.training.batch_size {settings.batch_size} is no multiple of {world} workers")
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        held_out = [Cell.parse(name) for name in config.held_out_cells]
        prepared_parts(run / "data")
        rows = TrainingRows(run / "data", "train", ["image"], Path(scratch), held_out)
        validation = TrainingRows(run / "data", "val", ["image"], Path(scratch), held_out)
        if not len(rows):
            raise InputError(f"{run / 'data'} holds no training image: its `train` split is empty")

        torch.manual_seed(config.seed)
        model = Autoencoder.build(config).to(accelerator.device)
        average = EMAModel(model.parameters(), decay=settings.ema_decay)
        optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        checkpoints = Checkpoints(run / "vae" / "checkpoints", stage_digest(config, "vae"))
        first_step = checkpoints.resume(model, average, optimizer)
        journal = Journal(run / "vae", first_step, report) if accelerator.is_main_process else None
        parallel, optimizer = accelerator.prepare(model, optimizer)

        for step in range(first_step, settings.num_steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, settings)
            batch = batch_rows(len(rows), settings.batch_size, config.seed, step)
            images = rows.tensor("image", batch[rank::world])[:, None].to(accelerator.device)
            noise = torch.randn(
                (settings.batch_size, *config.latent_shape), generator=step_generator(config.seed, step)
            )[rank::world]

            reconstruction, posterior = parallel(images, noise.to(accelerator.device))
            terms = autoencoder_loss(reconstruction, images, posterior, config.autoencoder)
            accelerator.backward(terms["loss"])
            accelerator.clip_grad_norm_(parallel.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.step(model.parameters())

            done = step + 1
            if journal and (done % settings.log_every == 0 or done == settings.num_steps):
                journal.scalars(done, {name: float(value.detach()) for name, value in terms.items()})
            if journal and (done % settings.preview_every == 0 or done == settings.num_steps):
                _validate(model, average, validation, journal, done, accelerator.device)
            if journal and done % settings.checkpoint_every == 0 and done < settings.num_steps:
                checkpoints.save(done, model, average, optimizer)
                journal.flush()

        if journal:
            average.copy_to(model.parameters())
            save_autoencoder(run / "vae", model, config)
            journal.close()
            finish(run, config, "vae")
            checkpoints.delete()
        accelerator.wait_for_everyone()


@torch.no_grad()
def _validate(
    model: Autoencoder,
    average: EMAModel,
    rows: TrainingRows,
    journal: Journal,
    step: int,
    device: torch.device,
) -> None:
    """PSNR of the averaged weights on held-out images, and a sheet of some above their reconstructions."""
    if not len(rows):
        return
    chosen = range(0, len(rows), -(-len(rows) // NUM_VALIDATION))
    images = rows.tensor("image", chosen)[:, None].to(device)
    average.store(model.parameters())
    average.copy_to(model.parameters())
    restored = torch.cat([model.decode(model.encode(part).mean) for part in torch.split(images, 32)])
    average.restore(model.parameters())
    error = (restored.clamp(-1, 1) - images).square().mean(dim=(1, 2, 3))
    journal.scalars(step, {"val_psnr": float((10 * torch.log10(4.0 / error)).mean())})
    some = torch.linspace(0, len(images) - 1, min(NUM_PREVIEWS, len(images))).long()
    journal.preview(step, torch.cat([images[some], restored[some]]), len(some))
