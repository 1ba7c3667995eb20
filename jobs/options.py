"""Command-line options that several verbs share, and what they resolve to."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from jobs.placement import Placement
from mrigen.config import Config
from mrigen.config.files import PRESETS
from mrigen.errors import InputError
from mrigen.process.cores import usable_cpus
from mrigen.run import resolve_config
from mrigen.storage import Location

Command = Callable[..., Any]
Option = Callable[[Command], Command]

_CONFIG = (
    click.option(
        "--preset", help=f"Settings to start from: {', '.join(PRESETS)}.  [default: those of RUN, else quick]"
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


def _range(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """A number of workers or the like, or the least and the most of them: of `num_workers` the least comes as
    `least_workers`."""
    least, colon, most = value.rpartition(":")
    numbers = [int(text) if text.isdecimal() else 0 for text in ([least, most] if colon else [most])]
    if numbers[0] < 1 or numbers != sorted(numbers):
        raise click.BadParameter(f"{value!r} is neither a number above 0 nor two such, as 2:16")
    if colon:
        ctx.params[f"least_{(param.name or '').removeprefix('num_')}"] = numbers[0]
    return numbers[-1]


RANGED: Mapping[str, Any] = {"type": str, "callback": _range, "metavar": "N|MIN:MAX"}
"""What makes an option take a number, or a range of numbers."""
_ADDRESS = click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster to use: auto, or HOST:PORT.  [default: $RAY_ADDRESS, else a local one]",
)


@dataclass(frozen=True)
class Settings:
    """What the user said of the what-settings on the command line."""

    preset: str | None
    config_file: str | None
    overrides: tuple[str, ...]
    print_config: bool

    def words(self) -> list[str]:
        """As they would be given on the command line."""
        named = {"--preset": self.preset, "--config": self.config_file}
        words = [word for name, value in named.items() if value is not None for word in (name, value)]
        return words + [word for override in self.overrides for word in ("--set", override)]

    def resolve(self, run: Location | None) -> Config:
        """The configuration of a run, by `mrigen.run.resolve_config`. With `--print-config` it is printed as YAML and
        the command ends."""
        config = resolve_config(run, self.preset, self.config_file, self.overrides)
        if self.print_config:
            click.echo(config.to_yaml(), nl=False)
            raise click.exceptions.Exit(0)
        return config

    def of_run(self, text: str) -> tuple[Location, Config]:
        """The folder of a run, which must be there and be writable, and its configuration, as `resolve` has it."""
        run = input_folder(text, "RUN")
        config = self.resolve(run)
        return require_writable(run), config


def config_options(command: Command) -> Command:
    """Add the options that choose the what-settings; the command takes them together, as `settings`."""
    return _gathered("settings", Settings, _CONFIG)(command)


def training_options(command: Command) -> Command:
    """As `worker_options`, and `--cpus-per-worker`; beside these `--from`, as `start`."""
    cpus = click.option(
        "--cpus-per-worker",
        type=click.IntRange(min=1),
        help="Cores of a worker.  [default: an equal share of the cluster's; 1 with --use-gpu]",
    )
    start = click.option(
        "--from",
        "start",
        metavar="MODEL",
        help="Begin with the weights of a model: its folder or URI, or `embedded`.  [default: random weights]",
    )
    return start(worker_options(more=(cpus,))(command))


def worker_options(default_workers: int = 1, more: Sequence[Option] = ()) -> Option:
    """Add `--address`, `--num-workers` and `--use-gpu`; the command takes them together, as `placement`."""
    workers = click.option(
        "--num-workers",
        **RANGED,
        default=default_workers,
        show_default=True,
        help="Worker processes, or the least and the most; with --use-gpu, one GPU each.",
    )
    on_gpus = click.option("--use-gpu", is_flag=True, help="Run every worker on a GPU.")
    return _gathered("placement", Placement, (_ADDRESS, workers, on_gpus, *more))


def cpu_worker_options(command: Command) -> Command:
    """As `worker_options`, for a command that has no use for a GPU."""
    workers = click.option(
        "--num-workers",
        **RANGED,
        default=usable_cpus,
        show_default="one for each core of this machine",
        help="Worker processes.",
    )
    return _gathered("placement", Placement, (_ADDRESS, workers))(command)


def _gathered(name: str, kind: type[Any], options: Sequence[Option]) -> Option:
    """Add `options`, whose values the command takes together: as `name`, a dataclass of this `kind`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(*args: Any, **values: Any) -> Any:
            own = {field.name: values.pop(field.name) for field in dataclasses.fields(kind) if field.name in values}
            return command(*args, **{name: kind(**own)}, **values)

        return with_options(gathered, options)

    return decorate


def with_options(command: Command, options: Sequence[Option]) -> Command:
    """Add `options`, which the help lists in their order."""
    for option in reversed(options):
        command = option(command)
    return command


def output_location(text: str) -> Location:
    """A place to write to. Under a Ray job a relative path is refused: it would land in Ray's own folder."""
    in_ray_job = "RAY_JOB_ID" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if in_ray_job and "://" not in text and not os.path.isabs(os.path.expanduser(text)):
        raise InputError(
            f"output path {text!r} is relative: under a Ray job it would land in Ray's session folder; "
            "give an absolute path on shared storage or a URI such as s3://bucket/run"
        )
    return require_writable(Location.parse(text))


def require_writable(location: Location) -> Location:
    """The folder itself. Raises InputError if it is a file, or cannot be written."""
    if location.is_file():
        raise InputError(f"{location} is a file: name a folder to write to")
    location.require_writable()
    return location


def input_folder(text: str, what: str) -> Location:
    """A folder to read from, which must be there."""
    location = Location.parse(text)
    if not location.is_folder():
        raise InputError(f"{what}: no folder {text}")
    return location
