"""What the verbs share that measure a run: their options, the command that their pages name, and how they end."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from jobs.options import (
    Option,
    Settings,
    config_options,
    input_folder,
    output_location,
    require_writable,
    with_options,
    worker_options,
)
from jobs.placement import Placement

if TYPE_CHECKING:
    from mrigen.report.publish import Published

Stage = Callable[..., "Published"]
"""A function of `mrigen.stages`: (run, config, each, *, out, command, ...)."""
SAMPLES = click.option(
    "--samples", metavar="DIR", help="A folder that `mrigen generate` wrote.  [default: RUN/samples]"
)


def split_option(purpose: str, *more: str) -> Option:
    """`--split`, the held-out images that serve a purpose; `more` can be chosen, too."""
    return click.option(
        "--split", type=click.Choice(["test", "val", *more]), default="test", show_default=True, help=purpose
    )


def measuring_command(
    verb: str, result: str, *own: Option, keeps_cache: bool = True
) -> Callable[[Callable[[], Stage]], click.Command]:
    """Make a command of a function that gives the stage which measures RUN and leaves RUN/`result`, or `--out`; its
    docstring is the help.

    The stage is given what its `own` options ask by their names, as `command` the line to repeat, without `--out`. RUN
    must be writable where it `keeps_cache` there. The exit status is 1 where the result is a failure.
    """

    def decorate(stage_of: Callable[[], Stage]) -> click.Command:
        def command(run: str, out: str | None, settings: Settings, placement: Placement, **asked: Any) -> int:
            folder = input_folder(run, "RUN")
            config = settings.resolve(folder)
            if keeps_cache:
                require_writable(folder)
            names = [option.name for option in click.get_current_context().command.params]
            line = _command_line(verb, run, settings, {name: asked[name] for name in names if name in asked})
            if asked.get("samples") is not None:
                asked["samples"] = input_folder(asked["samples"], "--samples")
            place = output_location(out) if out is not None else None
            if place is None:
                require_writable(folder / result)
            from jobs.each_on_ray import EachOnRay

            published = stage_of()(folder, config, EachOnRay(placement), out=place, command=line, **asked)
            return tell(published)

        out_option = click.option("--out", metavar="DIR", help=f"Where to write the result.  [default: RUN/{result}]")
        optioned = with_options(command, [*own, out_option, config_options, worker_options(default_workers=2)])
        return click.command(verb, help=stage_of.__doc__)(click.argument("run")(optioned))

    return decorate


def tell(published: Published) -> int:
    """Print what a stage published; gives the exit status."""
    for notice in published.notices:
        click.echo(f"note: {notice}", err=True)
    for words in published.words:
        click.echo(words)
    click.echo(f"page: {published.page}")
    return int(published.failed)


def _command_line(verb: str, run: str, settings: Settings, asked: dict[str, Any]) -> str:
    """The command as a user would repeat it: with the options that are neither None nor False, and the overrides."""
    words = ["mrigen", verb, run]
    for name, value in asked.items():
        if value is not None and value is not False:
            words += [f"--{name}", *([value] if isinstance(value, str) else [])]
    for flag, value in (("--preset", settings.preset), ("--config", settings.config_file)):
        words += [flag, value] if value else []
    for override in settings.overrides:
        words += ["--set", override]
    return shlex.join(words)
