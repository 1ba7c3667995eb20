"""Command-line options that several verbs share, and the configuration they resolve to."""

from __future__ import annotations

import functools
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from mrigen.config import Config, load_config
from mrigen.config.files import PRESETS, read_settings
from mrigen.errors import InputError
from mrigen.storage import Location

Command = Callable[..., Any]


@dataclass(frozen=True)
class Settings:
    """What the user said of the what-settings on the command line."""

    preset: str | None
    config_file: str | None
    overrides: tuple[str, ...]
    print_config: bool

    def resolve(self, run: Location | None) -> Config:
        """The configuration of a run: from the options, else the one that the run's `config.json` holds.

        The first stage of a run writes `config.json`; a later one takes it up, and its own overrides are laid
        over it. With `--print-config` it is printed as YAML and the command ends.
        """
        stored = run / "config.json" if run else None
        if self.config_file is not None:
            text = read_settings(self.config_file)
            config = load_config(self.preset or "quick", text, self.overrides, source=self.config_file)
        elif self.preset is None and stored and stored.is_file():
            config = load_config("quick", json.dumps(stored.read_json()), self.overrides, source=str(stored))
        else:
            config = load_config(self.preset or "quick", None, self.overrides)
        if self.print_config:
            click.echo(config.to_yaml(), nl=False)
            raise click.exceptions.Exit(0)
        return config


def config_options(command: Command) -> Command:
    """Add the options that choose the what-settings; the command takes them together, as `settings`."""

    @functools.wraps(command)
    def gathered(
        *args: Any,
        preset: str | None,
        config_file: str | None,
        overrides: tuple[str, ...],
        print_config: bool,
        **others: Any,
    ) -> Any:
        return command(*args, settings=Settings(preset, config_file, overrides, print_config), **others)

    for option in reversed(
        (
            click.option(
                "--preset",
                help=f"Settings to start from: {', '.join(PRESETS)}.  [default: those of RUN, else quick]",
            ),
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
        gathered = option(gathered)
    return gathered


def samples_option(command: Command) -> Command:
    """Add `--samples`, to be resolved by `samples_folder`."""
    help_text = "A folder that `mrigen generate` wrote.  [default: RUN/samples]"
    return click.option("--samples", metavar="DIR", help=help_text)(command)


def out_option(name: str) -> Callable[[Command], Command]:
    """Add `--out`, to be resolved by `result_folder` with the same `name`."""
    return click.option("--out", metavar="DIR", help=f"Where to write the result.  [default: RUN/{name}]")


def split_option(purpose: str) -> Callable[[Command], Command]:
    """Add `--split`, the held-out images that serve a purpose."""
    return click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help=purpose)


def samples_folder(samples: str | None, run: Location) -> Location:
    """The folder that `--samples` names, which must be there; RUN/samples, be it there or not, without the option."""
    return input_folder(samples, "--samples") if samples else run / "samples"


def result_folder(out: str | None, run: Location, name: str) -> Location:
    """The folder that `--out` names, else RUN/name."""
    return output_location(out) if out else _writable(run / name)


def command_line(verb: str, run: str, settings: Settings, **options: str | bool | None) -> str:
    """The command as a user would repeat it: with the options that are neither None nor False, and the overrides."""
    words = ["mrigen", verb, run]
    for name, value in options.items():
        if value is not None and value is not False:
            words += [f"--{name}", *([value] if isinstance(value, str) else [])]
    for flag, value in (("--preset", settings.preset), ("--config", settings.config_file)):
        words += [flag, value] if value else []
    for override in settings.overrides:
        words += ["--set", override]
    return shlex.join(words)


def output_location(text: str) -> Location:
    """A place to write to. Under a Ray job a relative path is refused: it would land in Ray's own folder."""
    in_ray_job = "RAY_JOB_ID" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if in_ray_job and "://" not in text and not os.path.isabs(os.path.expanduser(text)):
        raise InputError(
            f"output path {text!r} is relative: under a Ray job it would land in Ray's session folder; "
            "give an absolute path on shared storage or a URI such as s3://bucket/run"
        )
    return _writable(Location.parse(text))


def _writable(location: Location) -> Location:
    if location.is_file():
        raise InputError(f"{location} is a file: name a folder to write to")
    location.require_writable()
    return location


def run_folder(text: str) -> Location:
    """The folder of a run, which must be there, and which the verb adds to."""
    return _writable(input_folder(text, "RUN"))


def input_folder(text: str, what: str) -> Location:
    """A folder to read from, which must be there."""
    location = Location.parse(text)
    if not location.is_folder():
        raise InputError(f"{what}: no folder {text}")
    return location
