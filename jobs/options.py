"""Command-line options that several verbs share, and the configuration they resolve to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mrigen.config import PRESETS, Config, load_config
from mrigen.errors import InputError
from mrigen.storage import Location

Command = Callable[..., Any]


def config_options(command: Command) -> Command:
    """Add the options that choose the what-settings; `resolve_config` takes their values."""
    for option in reversed(
        (
            click.option("--preset", help=f"Settings to start from: {', '.join(PRESETS)}.  [default: quick]"),
            click.option("--config", "config_file", metavar="FILE", help="YAML file laid over the preset."),
            click.option(
                "--set",
                "overrides",
                metavar="KEY=VALUE",
                multiple=True,
                help="Override one setting, such as autoencoder.training.num_steps=500. Repeatable.",
            ),
            click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop."),
        )
    ):
        command = option(command)
    return command


def resolve_config(
    run: Location, preset: str | None, config_file: str | None, overrides: tuple[str, ...], print_config: bool
) -> Config:
    """The configuration of a run: from the options, else the one that the run's `config.json` holds.

    The first stage of a run writes `config.json`; a later one takes it up, and its own options are laid
    over it. With `print_config` it is printed as YAML and the command ends.
    """
    stored = run / "config.json"
    if preset is None and config_file is None and stored.is_file():
        base, text, source = "quick", json.dumps(stored.read_json()), str(stored)
    else:
        base, text, source = preset or "quick", None, config_file or "configuration"
    if config_file is not None:
        path = Path(config_file)
        if not path.is_file():
            raise InputError(f"--config: no file {config_file}")
        text = path.read_text()
    config = load_config(base, text, overrides, source=source)
    if print_config:
        click.echo(config.to_yaml(), nl=False)
        raise click.exceptions.Exit(0)
    return config


def output_location(text: str) -> Location:
    """A place to write to. Under a Ray job a relative path is refused: it would land in Ray's own folder."""
    if "RAY_JOB_ID" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        if "://" not in text and not os.path.isabs(os.path.expanduser(text)):
            raise InputError(
                f"output path {text!r} is relative: under a Ray job it would land in Ray's session folder; "
                "give an absolute path on shared storage or a URI such as s3://bucket/run"
            )
    return Location.parse(text)


def input_folder(text: str, what: str) -> Location:
    """A folder to read from, which must be there."""
    location = Location.parse(text)
    if not location.is_folder():
        raise InputError(f"{what}: no folder {text}")
    return location


def store_config(run: Location, config: Config) -> None:
    """Write the resolved configuration of a run, which its next stages take up."""
    (run / "config.json").write_json(config.model_dump(mode="json"))
