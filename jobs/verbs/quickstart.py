"""`mrigen quickstart`: the whole chain on this machine, verb by verb."""

from __future__ import annotations

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

    On the preset `quick` this takes about 20 minutes on two cores, and ends with a page on which real and
    generated images stand side by side. A killed run goes on by the same command.
    """
    settings.resolve(Location.parse(out))
    run = output_location(out)
    cohort, started = run / "phantom", time.monotonic()

    def step(verb: str, callback: click.Command, *words: object) -> None:
        click.echo(f"[{time.monotonic() - started:4.0f} s] mrigen {verb}")
        with callback.make_context(verb, list(map(str, words)), parent=context) as under:
            callback.invoke(under)

    step("phantom", phantom.command, cohort, "--subjects", subjects, "--seed", seed)
    step("prepare", prepare.command, cohort, run, *settings.words())
    step("train-vae", train_vae.command, run)
    step("encode", encode.command, run)
    step("train-ldm", train_ldm.command, run)
    made = ["--model", run / "model", "--out", run / "samples", "--per-cell", per_cell, "--seed", seed]
    step("generate", generate.command, *made, "--allow-untrained", "--redraws", 0)  # as the model draws
    step("evaluate", evaluate.command, run)
    click.echo(f"[{time.monotonic() - started:4.0f} s] done: open {run / 'report' / 'index.html'}")
