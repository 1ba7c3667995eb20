"""A stage of a run: whether it is finished, with which settings, and the mark that closes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrigen.config import Config, load_config
from mrigen.config.files import read_settings
from mrigen.errors import InputError
from mrigen.storage import Location

SUCCESS = "_SUCCESS.json"
CONFIG = "config.json"


@dataclass(frozen=True)
class BorrowingRun(Location):
    """A run folder that has some of its stages from elsewhere: `borrowed`, by their names."""

    borrowed: Mapping[str, Location] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Location:
        return self.borrowed.get(name) or super().__truediv__(name)

    def at(self, path: str) -> Location:
        """A path on the same filesystem, which borrows nothing."""
        return Location(self.filesystem, self.path, self.query).at(path)


# The sections of the configuration that decide a stage's result.
_DECIDING = {
    "data": ("data",),
    "vae": ("seed", "held_out_cells", "precision", "data", "autoencoder"),
    "latents": ("seed", "held_out_cells", "precision", "codec", "data", "autoencoder"),
    "ldm": ("seed", "held_out_cells", "precision", "codec", "data", "autoencoder", "denoiser", "diffusion"),
}


_CHANGES_NO_WEIGHT = (
    *("checkpoint_minutes", "checkpoint_every", "log_every", "preview_every"),
    *("micro_batch_size", "recompute_activations", "shard_weights"),  # by rounding alone, as the number of workers
)
_AS_BEFORE: list[tuple[str, Any]] = [("started_from", None), ("perceptual_weight", 0.0), ("frozen_encoder", False)]
_AS_BEFORE += [("adapter_rank", 0), ("early_share", 0.0), ("guide", "cfg"), ("network", "unet")]
_AS_BEFORE += [("source_token", False), ("source_dropout", 0.1)]
"""Settings with the value that says what runs did before there were these settings."""


def deciding_settings(config: Config, stage: str) -> dict[str, Any]:
    """The settings that decide what `stage` (data, vae, latents or ldm) leaves behind: by dotted name, fit for JSON."""
    return {name: value for name, value in settings_of(config).items() if name.partition(".")[0] in _DECIDING[stage]}


def settings_of(config: Config) -> dict[str, Any]:
    """All settings but those that decide nothing, by dotted name, fit for JSON."""
    found: dict[str, Any] = {}

    def collect(branch: dict[str, Any], path: str) -> None:
        for key, value in branch.items():
            if isinstance(value, dict):
                collect(value, f"{path}{key}.")
            elif key not in _CHANGES_NO_WEIGHT and (key, value) not in _AS_BEFORE:
                found[path + key] = value

    collect(config.model_dump(mode="json"), "")
    return found


def is_finished(run: Location, config: Config, stage: str) -> bool:
    """Whether `stage` is closed in `run`, or has nothing to do.

    Raises InputError that names the settings if it was closed, or has checkpoints, under other ones.
    """
    if stage == "vae" and config.codec == "pixels":
        return True
    now, folder = deciding_settings(config, stage), run / stage
    mark, checkpoints = folder / SUCCESS, folder / "checkpoints"
    if mark.is_file():
        _refuse_others(mark.read_json(), now, f"{folder} was made", "it and what follows from it")
        return True
    for complete in checkpoints.files("/COMPLETE.json"):
        try:
            told = complete.read_json()
        except InputError:  # damaged: training passes it over, and says so
            continue
        _refuse_others(told, now, f"{checkpoints} was trained", f"{checkpoints} to train anew")
    return False


def _refuse_others(mark: dict[str, Any], now: dict[str, Any], done: str, thing: str) -> None:
    then = mark.get("settings", {})
    names = [name for name in sorted({*now, *then}) if (name in now, now.get(name)) != (name in then, then.get(name))]
    if names:
        told = [f"{name} was {then.get(name, 'not told')!s}, is {now.get(name, 'not known')!s}" for name in names[:5]]
        more = f"; and {len(names) - 5} more" if len(names) > 5 else ""
        raise InputError(
            f"{done} with other settings than now asked for ({'; '.join(told)}{more}): "
            f"use another run folder, or delete {thing}"
        )


def require_finished(run: Location, config: Config, stage: str, verb: str) -> None:
    """Raise InputError that names the verb to run first, unless `stage` is closed in `run`."""
    if not is_finished(run, config, stage):
        raise InputError(f"{run / stage} is missing or unfinished: run `mrigen {verb} {shlex.quote(str(run))}` first")


def finish(run: Location, config: Config, stage: str) -> None:
    """Close `stage`: everything in it is published."""
    (run / stage / SUCCESS).write_json({"stage": stage, "settings": deciding_settings(config, stage)})


def resolve_config(run: Location | None, preset: str | None, file: str | None, overrides: Iterable[str]) -> Config:
    """The configuration of a run: a preset (`quick`), then a YAML file, then `key.path=value`, laid over one another.

    The first stage of a run writes `config.json`; where neither preset nor file are named, a later one takes that up in
    their place. Raises InputError as `load_config`.
    """
    stored = run / CONFIG if run else None
    if file is None and preset is None and stored and stored.is_file():
        return load_config(None, json.dumps(stored.read_json()), overrides, source=str(stored))
    text = read_settings(file) if file is not None else None
    return load_config(preset or "quick", text, overrides, source=file or "configuration")


def store_config(run: Location, config: Config) -> None:
    """Write the resolved configuration of a run, which its next stages take up.

    Raises InputError, and leaves it, if a file of something else has its name.
    """
    file = run / CONFIG
    stood = file.read_json() if file.is_file() else {"data": {}}
    if not isinstance(stood, dict) or not isinstance(stood.get("data"), dict):
        raise InputError(f"{file} is not that of a run: name a folder that is new or empty")
    file.write_json(config.model_dump(mode="json"))
