"""The training loop of the denoiser: latents in, the deployable `model/` out."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load, save
from torch import Tensor

from mrigen.config import Config
from mrigen.diffusion.process import NoiseSchedule
from mrigen.diffusion.sampling import sample_noise, solve
from mrigen.errors import InputError
from mrigen.labels import Modality, all_cells
from mrigen.model_folder.files import TrainingFacts, load_codec, save_model
from mrigen.models.adapters import add_adapters, merged_state
from mrigen.models.conditioning import Conditions, vocabulary_of
from mrigen.models.denoiser import Denoiser
from mrigen.models.latent_space import LatentStatistics
from mrigen.run import deciding_settings, finish, is_finished
from mrigen.storage import Location
from mrigen.training.checkpoints import Checkpoints
from mrigen.training.fine_tuning import load_start
from mrigen.training.journal import Journal, Report, Stop, is_due, never
from mrigen.training.latents import read_statistics
from mrigen.training.objective import Draw, denoiser_loss, squared_errors
from mrigen.training.places import Places, evenly_spaced
from mrigen.training.prefetch import prefetched
from mrigen.training.rows import TrainingRows, known_sources, training_limits, training_values
from mrigen.training.sharding import is_sharded, shard, whole
from mrigen.training.state import TrainingState

EARLY = "early.safetensors"
NUM_VALIDATION = 512
VALIDATION_BATCH = 64
VALIDATION_SEED = 2**62
NUM_LEVELS = 5
"""Parts of the timesteps, of least noise first, whose losses are told."""


def train_denoiser(
    config: Config,
    run: Location,
    accelerator: Accelerator,
    report: Report,
    stop: Stop = never,
    kept_after: Collection[int] = (),
) -> None:
    """Train on the `train` split of `run/latents`, resuming where a killed run stopped; leaves `run/model`.

    The averaged weights after each of the steps `kept_after` are left in `averaged_file(run, step)`.

    Called by every worker of a process group alike; `accelerator` knows the rank. `report` is called by the
    first, which also asks whether to `stop`: then it leaves a checkpoint and raises Stopped. Raises InputError if there
    is nothing to train on, or if `run/ldm` holds other settings' work.
    """
    if is_finished(run, config, "ldm"):
        return
    settings, device = config.denoiser.training, accelerator.device
    world, rank = accelerator.num_processes, accelerator.process_index
    with tempfile.TemporaryDirectory(prefix="mrigen-") as scratch:
        latents, columns = run / "latents", ["mean", "logvar"]
        vocabulary = vocabulary_of(known_sources(latents, config))
        rows, validation = (
            TrainingRows(latents, split, columns, Path(scratch), config.held_out_cells, vocabulary)
            for split in ("train", "val")
        )
        if not len(rows):
            raise InputError(f"{latents} holds no training latent: its `train` split is empty")
        statistics = read_statistics(latents)
        schedule = NoiseSchedule.build(config.diffusion).to(device)
        codec = load_codec(config, run / "vae").to(device)

        torch.manual_seed(config.seed)
        model = Denoiser.build(config, vocabulary)
        if start := load_start(run / "ldm", settings):
            model.load_state_dict(start[0].denoiser.state_dict())
        if rank_of_adapters := config.denoiser.adapter_rank:
            if not start:
                raise InputError("denoiser.adapter_rank trains adapters of a model, which is given by --from")
            add_adapters(model.unet, rank_of_adapters)
        early, early_step = run / "ldm" / EARLY, math.ceil(config.denoiser.early_share * settings.num_steps)
        if config.denoiser.early_share and not early_step:
            if start is None or start[0].early is None:
                raise InputError(
                    "denoiser.early_share: no step is trained, and the model of --from keeps no early state: "
                    "--set denoiser.early_share=0 --set sampler.guide=cfg"
                )
            if accelerator.is_main_process:
                early.write_bytes(_weights(start[0].early))
        model.to(device)
        if config.precision == "bf16":
            model.lay_out_for_bfloat16()
        if config.denoiser.recompute_activations:
            model.unet.enable_gradient_checkpointing()
        if config.denoiser.shard_weights and world > 1:
            shard(model, world)
        order = rows.order(config.denoiser.cell_balance)

        def ids(step: int) -> list[str]:
            return rows.ids(order.batch(settings.batch_size, config.seed, step))

        def prepare(step: int) -> list[Draw]:
            places = Places.of_rank(rank, world, settings.batch_size, config.seed, step)
            parts = places.parts(settings.micro_batch_size)
            return [Draw.of(rows, part.rows(order), part, config, statistics).to(device) for part in parts]

        def terms_of(step: int, draw: Draw) -> dict[str, Tensor]:
            return {"loss": denoiser_loss(state.network, draw, schedule, config)}

        @contextlib.contextmanager
        def averaged() -> Iterator[Denoiser]:
            with state.averaged():
                yield _whole(model, config)

        deciding = deciding_settings(config, "ldm")
        checkpoints = Checkpoints(run / "ldm" / "checkpoints", deciding)
        state = TrainingState(model, settings, accelerator, checkpoints, ids)
        image_at_peak_s = state.rehearse(prepare(state.first_step), terms_of)
        journal = None
        if accelerator.is_main_process:
            journal = Journal(run / "ldm", settings, state.first_step, report, image_at_peak_s, deciding)

        for step, draws, waited in prefetched(prepare, range(state.first_step, settings.num_steps)):
            terms = state.update(step, draws, terms_of)
            done = step + 1
            if journal:
                journal.step(done, terms, waited)
            takes_part = journal is not None or state.is_sharded  # in what the first does beside the steps
            if takes_part and done == early_step:
                with averaged() as denoiser:
                    if journal:
                        early.write_bytes(_weights(denoiser))
            if takes_part and done in kept_after:
                with averaged() as denoiser:
                    if journal:
                        averaged_file(run, done).write_bytes(_weights(denoiser))
            if takes_part and is_due(done, settings.preview_every, settings):
                with averaged() as denoiser:
                    if journal:
                        losses = validation_losses(denoiser, validation, config, statistics, schedule)
                        samples = one_of_each_cell(denoiser, config, schedule)
                if journal and losses:
                    journal.scalars(done, losses)
                if journal:
                    journal.preview(done, codec.decode(statistics.restored(samples)), len(Modality))
            if takes_part and state.keep(done, stopping=journal is not None and stop()) and journal:
                journal.flush()

        with averaged() as denoiser:
            if journal:
                data, without = run / "data", config.held_out_cells
                starts = [*filter(None, (load_start(run / "vae", config.autoencoder.training), start))]
                seen = TrainingFacts(
                    rows.counts,
                    rows.slice_mm,
                    rows.subjects,
                    training_values(data, "source", without).union(*(model.training_sources for model, _ in starts)),
                    training_values(data, "licence", without).union(*(model.training_licences for model, _ in starts)),
                    training_limits(data, without),
                    frozenset[str]().union(*(subjects for _, subjects in starts)),
                )
                kept = load(early.read_bytes()) if config.denoiser.early_share else None
                save_model(run / "model", codec, denoiser, config, statistics, seen, kept)
        if journal:
            journal.close()
            finish(run, config, "ldm")
            checkpoints.delete()
        accelerator.wait_for_everyone()


def averaged_file(run: Location, step: int) -> Location:
    """Where averaged weights after a step are kept, as safetensors."""
    return run / "ldm" / f"averaged-{step:08d}.safetensors"


def _whole(model: Denoiser, config: Config) -> Denoiser:
    """The denoiser with its adapters, if it has any, merged into it, or with weights that are spread put together."""
    if not (config.denoiser.adapter_rank or is_sharded(model)):
        return model
    merged = Denoiser.build(config, model.conditioner.vocabulary).to(next(model.parameters()).device)
    merged.unet.load_state_dict({name: whole(tensor) for name, tensor in merged_state(model.unet).items()})
    merged.conditioner.load_state_dict({name: whole(one) for name, one in model.conditioner.state_dict().items()})
    return merged


def _weights(model: Denoiser) -> bytes:
    packed: bytes = save({name: weight.cpu().contiguous() for name, weight in model.state_dict().items()})
    return packed


@torch.no_grad()
def validation_losses(
    model: Denoiser, rows: TrainingRows, config: Config, statistics: LatentStatistics, schedule: NoiseSchedule
) -> dict[str, float]:
    """Mean loss on held-out rows, all conditions kept, by the same draw each time, and that of each part of the
    timesteps and of each cell; nothing without rows."""
    chosen = evenly_spaced(len(rows), NUM_VALIDATION)
    if not len(chosen):
        return {}
    device = next(model.parameters()).device
    errors, timesteps = [], []
    for start in range(0, len(chosen), VALIDATION_BATCH):
        taken = range(start, min(start + VALIDATION_BATCH, len(chosen)))
        places = Places(VALIDATION_SEED, 0, len(chosen), taken)
        draw = Draw.of(rows, chosen[taken], places, config, statistics, dropout=False).to(device)
        errors.append(squared_errors(model, draw, schedule, config).flatten(1).mean(1).cpu())
        timesteps.append(draw.timesteps.cpu())
    error = torch.cat(errors).double().numpy()
    level = torch.cat(timesteps).numpy() * NUM_LEVELS // config.diffusion.num_train_timesteps
    cell = rows.cells[chosen]
    return {
        "val_loss": float(error.mean()),
        **{f"val_loss/level_{k + 1}_of_{NUM_LEVELS}": float(error[level == k].mean()) for k in np.unique(level)},
        **{f"val_loss/{all_cells()[k]}": float(error[cell == k].mean()) for k in np.unique(cell)},
    }


@torch.no_grad()
def one_of_each_cell(model: Denoiser, config: Config, schedule: NoiseSchedule) -> Tensor:
    """One standardised latent of every cell (20, C, *spatial), of no source, without guidance, by the same noise
    each time."""
    device = next(model.parameters()).device
    cells = all_cells()
    conditions = Conditions.of(cells, [0.0] * len(cells), model.conditioner.vocabulary).to(device)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        predicted: Tensor = model(latents, torch.full((len(cells),), timestep, device=device), conditions)
        return predicted

    def noise(step: int) -> Tensor:
        return sample_noise(range(len(cells)), config.latent_shape, step).to(device)

    return solve(config.sampler.solver, predict, noise, schedule, config.sampler.num_steps, config.diffusion.prediction)
