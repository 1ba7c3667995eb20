"""A stage of a run: whether it is finished, with which settings, and the mark that closes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from mrigen.config import Config, load_config
from mrigen.config.files import read_settings
from mrigen.errors import InputError
from mrigen.storage import Location

SUCCESS = "_SUCCESS.json"

# The sections of the configuration that decide a stage's result.
_DECIDING = {
    "data": ("data",),
    "vae": ("seed", "held_out_cells", "precision", "data", "autoencoder"),
    "latents": ("seed", "held_out_cells", "precision", "codec", "data", "autoencoder"),
    "ldm": ("seed", "held_out_cells", "precision", "codec", "data", "autoencoder", "denoiser", "diffusion"),
}


def stage_digest(config: Config, stage: str) -> str:
    """SHA-256 over the settings that decide what `stage` (data, vae, latents or ldm) leaves behind."""
    tree = config.model_dump(mode="json")
    deciding = {section: tree[section] for section in _DECIDING[stage] if section in tree}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def is_finished(run: Location, config: Config, stage: str) -> bool:
    """Whether `stage` is closed in `run`, or has nothing to do.

    Raises InputError if it was closed under other settings.
    """
    if stage == "vae" and config.codec == "pixels":
        return True
    mark = run / stage / SUCCESS
    if not mark.is_file():
        return False
    if mark.read_json()["digest"] != stage_digest(config, stage):
        raise InputError(
            f"{run / stage} was made with other settings than now asked for: "
            f"use another run folder, or delete it and what follows from it"
        )
    return True


def require_finished(run: Location, config: Config, stage: str, verb: str) -> None:
    """Raise InputError that names the verb to run first, unless `stage` is closed in `run`."""
    if not is_finished(run, config, stage):
        raise InputError(f"{run / stage} is missing or unfinished: run `mrigen {verb} {run}` first")


def finish(run: Location, config: Config, stage: str) -> None:
    """Close `stage`: everything in it is published."""
    (run / stage / SUCCESS).write_json({"stage": stage, "digest": stage_digest(config, stage)})


def resolve_config(run: Location | None, preset: str | None, file: str | None, overrides: Iterable[str]) -> Config:
    """The configuration of a run: a preset (`quick`), then a YAML file, then `key.path=value`, laid over one another.

    The first stage of a run writes `config.json`; where neither preset nor file are named, a later one takes that up in
    their place. Raises InputError as `load_config`.
    """
    stored = run / "config.json" if run else None
    if file is None and preset is None and stored and stored.is_file():
        return load_config("quick", json.dumps(stored.read_json()), overrides, source=str(stored))
    text = read_settings(file) if file is not None else None
    return load_config(preset or "quick", text, overrides, source=file or "configuration")


def store_config(run: Location, config: Config) -> None:
    """Write the resolved configuration of a run, which its next stages take up."""
    (run / "config.json").write_json(config.model_dump(mode="json"))
