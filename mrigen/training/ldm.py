"""The training loop of the denoiser: latents in, the deployable `model/` out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from mrigen.checkpoint import load_codec, save_model
from mrigen.config import Config
from mrigen.diffusion import NoiseSchedule
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, all_cells
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.models.latent_space import LatentStatistics
from mrigen.run import finish, is_finished, stage_digest
from mrigen.sampling import sample_noise, solve
from mrigen.storage import Location
from mrigen.training.data import TrainingRows, batch_rows, step_generator
from mrigen.training.journal import Journal, Report
from mrigen.training.latents import read_statistics
from mrigen.training.objective import Draw, denoiser_loss
from mrigen.training.state import Checkpoints, learning_rate

NUM_VALIDATION = 512
VALIDATION_SEED = 2**62


def train_denoiser(config: Config, run: Location, accelerator: Accelerator, report: Report) -> None:
    """Train on the `train` split of `run/latents`, resuming where a killed run stopped; leaves `run/model`.

    Called by every worker of a process group alike; `accelerator` knows the rank. `report` is called by the
    first. Raises InputError if there is nothing to train on, or if `run/ldm` holds other settings' work.
    """
    if is_finished(run, config, "ldm"):
        return
    settings = config.denoiser.training
    world, rank = accelerator.num_processes, accelerator.process_index
    if settings.batch_size % world:
        raise InputError(f"denoiser.training.batch_size {settings.batch_size} is no multiple of {world} workers")
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        held_out = [Cell.parse(name) for name in config.held_out_cells]
        columns = ["mean", "logvar"]
        rows = TrainingRows(run / "latents", "train", columns, Path(scratch), held_out)
        validation = TrainingRows(run / "latents", "val", columns, Path(scratch), held_out)
        if not len(rows):
            raise InputError(f"{run / 'latents'} holds no training latent: its `train` split is empty")
        statistics = read_statistics(run / "latents")
        schedule = NoiseSchedule.build(config.diffusion)

        torch.manual_seed(config.seed)
        model = Denoiser.build(config).to(accelerator.device)
        average = EMAModel(model.parameters(), decay=settings.ema_decay)
        optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        checkpoints = Checkpoints(run / "ldm" / "checkpoints", stage_digest(config, "ldm"))
        first_step = checkpoints.resume(model, average, optimizer)
        journal = Journal(run / "ldm", first_step, report) if accelerator.is_main_process else None
        parallel, optimizer = accelerator.prepare(model, optimizer)

        for step in range(first_step, settings.num_steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, settings)
            batch = batch_rows(len(rows), settings.batch_size, config.seed, step)
            draw = Draw.of(rows, batch, config, statistics, step_generator(config.seed, step))
            loss = denoiser_loss(parallel, draw.share(rank, world).to(accelerator.device), schedule, config)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(parallel.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.step(model.parameters())

            done = step + 1
            if journal and (done % settings.log_every == 0 or done == settings.num_steps):
                journal.scalars(done, {"loss": float(loss.detach()), "grad_norm": float(norm)})
            if journal and (done % settings.preview_every == 0 or done == settings.num_steps):
                average.store(model.parameters())
                average.copy_to(model.parameters())
                _validate(model, validation, run, config, statistics, schedule, journal, done)
                average.restore(model.parameters())
            if journal and done % settings.checkpoint_every == 0 and done < settings.num_steps:
                checkpoints.save(done, model, average, optimizer)
                journal.flush()

        if journal:
            average.copy_to(model.parameters())
            codec = load_codec(config, run / "vae")
            save_model(run / "model", codec, model, config, statistics, rows.cells, rows.slice_mm)
            journal.close()
            finish(run, config, "ldm")
            checkpoints.delete()
        accelerator.wait_for_everyone()


@torch.no_grad()
def _validate(
    model: Denoiser,
    rows: TrainingRows,
    run: Location,
    config: Config,
    statistics: LatentStatistics,
    schedule: NoiseSchedule,
    journal: Journal,
    step: int,
) -> None:
    """Loss on held-out latents, the same draw each time; and a sheet with one sample of every cell."""
    device = next(model.parameters()).device
    if len(rows):
        chosen = list(range(0, len(rows), -(-len(rows) // NUM_VALIDATION)))
        draw = Draw.of(rows, chosen, config, statistics, step_generator(VALIDATION_SEED, 0), dropout=False)
        losses = [denoiser_loss(model, part.to(device), schedule, config) for part in draw.split(64)]
        journal.scalars(step, {"val_loss": float(torch.stack(losses).mean())})
    cells = all_cells()
    conditions = Conditions.of(cells, [0.0] * len(cells)).to(device)

    def predict_v(latents: torch.Tensor, timestep: int) -> torch.Tensor:
        predicted: torch.Tensor = model(latents, torch.full((len(cells),), timestep, device=device), conditions)
        return predicted

    def noise(step: int) -> torch.Tensor:
        return sample_noise(range(len(cells)), config.latent_shape, step).to(device)

    latents = solve(config.sampler.solver, predict_v, noise, schedule, config.sampler.num_steps)
    codec = load_codec(config, run / "vae").to(device)
    journal.preview(step, codec.decode(statistics.restored(latents)), len(Modality))
