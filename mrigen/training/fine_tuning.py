"""Fine-tuning: a training that begins with the weights of a model, of which its run keeps a copy."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from mrigen.config import Config, TrainingConfig, parse_config
from mrigen.errors import InputError
from mrigen.model_folder.facts import SUMS
from mrigen.model_folder.files import Model, load_model, training_subjects
from mrigen.run import is_finished, store_config
from mrigen.storage import Location
from mrigen.training.rows import known_sources

EMBEDDED = "embedded"

TrainingStage = Literal["vae", "ldm"]

_SECTIONS: dict[TrainingStage, str] = {"vae": "autoencoder", "ldm": "denoiser"}
_LATENTS = ("codec", "autoencoder.latent_channels")
_ALIKE: dict[TrainingStage, tuple[str, ...]] = {
    "vae": (
        *_LATENTS,
        "autoencoder.network",
        "autoencoder.block_channels",
        "autoencoder.layers_per_block",
        "autoencoder.norm_groups",
    ),
    "ldm": (
        *_LATENTS,
        "denoiser.network",
        "denoiser.block_channels",
        "denoiser.attention_levels",
        "denoiser.layers_per_block",
        "denoiser.head_channels",
        "denoiser.norm_groups",
        "denoiser.condition_channels",
        "denoiser.source_token",
        "diffusion.prediction",
        "diffusion.schedule",
        "diffusion.num_train_timesteps",
    ),
}
"""Settings by which the weights of one model mean something in another."""


def begin(run: Location, config: Config, stage: TrainingStage, start: str | None = None) -> Config | None:
    """The configuration that the stage is trained by, which the run keeps from now on; None if it is finished.

    The weights begin with those of the model `start`, as `begun_from` takes it. Raises InputError as that, or if the
    stage was begun under other settings.
    """
    if start is not None:
        config = begun_from(start, config, stage, known_sources(run / "latents", config) if stage == "ldm" else ())
    finished = is_finished(run, config, stage)
    store_config(run, config)
    if start is not None and not finished:
        bring(start, run / stage)
    return None if finished else config


def begun_from(model: str, config: Config, stage: TrainingStage, sources: Sequence[str] = ()) -> Config:
    """The configuration, which now names the model (folder, URI or `embedded`) that the weights of `stage` begin with.

    `sources` are the `known_sources` of a denoiser's run. Raises InputError if there is no such model, or if its
    weights do not fit: with the settings that make them fit.
    """
    with _local(model) as folder:
        start = load_model(folder)
    there, here = start.config.model_dump(mode="json"), config.model_dump(mode="json")
    differing = {name: _value(there, name) for name in _ALIKE[stage] if _value(there, name) != _value(here, name)}
    if differing:
        told = "; ".join(f"{name} is {value} there, {_value(here, name)} here" for name, value in differing.items())
        remedy = " ".join(f"--set {shlex.quote(f'{name}={_flow(value)}')}" for name, value in differing.items())
        raise InputError(f"--from: the weights of {model} do not fit ({told}): prepare a run with {remedy}")
    if stage == "ldm" and start.sources != tuple(sources):
        told = f"sources are {list(start.sources)} there, {list(sources)} here"
        remedy = "prepare a run of the same sources, or begin with a model without a source token"
        raise InputError(f"--from: the weights of {model} do not fit ({told}): {remedy}")
    here[_SECTIONS[stage]]["training"]["started_from"] = start.sha256
    return parse_config(here)


def bring(model: str, stage_folder: Location) -> None:
    """Copy the model to where `load_start` looks for it."""
    with _local(model) as folder:
        (stage_folder / "start").upload(folder)


def load_start(stage_folder: Location, settings: TrainingConfig) -> tuple[Model, frozenset[str]] | None:
    """The model that the stage begins with, and the digests of its training subjects; None if it begins with nothing.

    Raises InputError if its copy is not there, not whole, or of another model, or if nothing at all would be learned.
    """
    if settings.started_from is None:
        if settings.num_steps == 0:
            raise InputError("training.num_steps is 0: that keeps the weights of a model, which is given by --from")
        return None
    start = stage_folder / "start"
    if not (start / SUMS).is_file():
        raise InputError(f"{start}, the model that this training begins with, is missing: give it by --from")
    with start.as_local() as folder:
        model, subjects = load_model(folder), training_subjects(Location.parse(folder))
    if model.sha256 != settings.started_from:
        raise InputError(f"{start} is not the model that this training begins with: delete it, and give that by --from")
    return model, subjects or frozenset()


@contextlib.contextmanager
def _local(model: str) -> Iterator[Path]:
    if model == EMBEDDED:
        with resources.as_file(resources.files("mrigen") / "embedded" / "model") as folder:
            yield folder
        return
    location = Location.parse(model)
    if not location.is_folder():
        raise InputError(f"--from: there is no model folder {model}")
    with location.as_local() as folder:
        yield folder


def _value(tree: dict[str, Any], name: str) -> Any:
    section, _, key = name.rpartition(".")
    return (tree[section] if section else tree)[key]


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
