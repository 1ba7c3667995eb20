"""`mrigen quickstart`: the whole chain on this machine, verb by verb."""

from __future__ import annotations

import dataclasses
import time

import click

from jobs.options import Settings, config_options, output_location
from jobs.verbs import encode, evaluate, generate, phantom, prepare, train_ldm, train_vae
from mrigen.storage import Location


@click.command("quickstart")
@click.option("--out", default="out/quickstart", show_default=True, metavar="RUN", help="Folder of the run.")
@click.option("--subjects", type=click.IntRange(8, 9999), default=80, show_default=True, help="Phantom subjects.")
@click.option("--per-cell", type=click.IntRange(min=1), default=10, show_default=True, help="Samples of every cell.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the cohort.")
@config_options
@click.pass_context
def command(context: click.Context, out: str, subjects: int, per_cell: int, seed: int, settings: Settings) -> None:
    """Run phantom, prepare, train-vae, encode, train-ldm, generate and evaluate, one after the other.

    On the preset `quick` this takes about 15 minutes on two cores, and ends with a page on which real and
    generated images stand side by side. A killed run goes on by the same command.
    """
    settings.resolve(Location.parse(out))
    run = output_location(out)
    cohort, data = str(run / "phantom"), str(run)
    started = time.monotonic()

    def step(verb: str, callback: click.Command, **arguments: object) -> None:
        click.echo(f"[{time.monotonic() - started:4.0f} s] mrigen {verb}")
        context.invoke(callback, **arguments)

    step("phantom", phantom.command, out=cohort, subjects=subjects, seed=seed)
    step("prepare", prepare.command, places=(cohort, data), **dataclasses.asdict(settings))
    step("train-vae", train_vae.command, run=data)
    step("encode", encode.command, run=data)
    step("train-ldm", train_ldm.command, run=data)
    samples = {"model": str(run / "model"), "out": str(run / "samples"), "per_cell": per_cell, "seed": seed}
    step("generate", generate.command, **samples, allow_untrained=True, redraws=0)  # as the model draws
    step("evaluate", evaluate.command, run=data)
    click.echo(f"[{time.monotonic() - started:4.0f} s] done: open {run / 'report' / 'index.html'}")
