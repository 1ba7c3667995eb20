"""`python -m mrigen.training RUN`: train and sample in this process, without Ray, on a laptop or a bare GPU box."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import click

from mrigen.command_line import run_command
from mrigen.config import Config
from mrigen.config.files import PRESETS
from mrigen.process.lease import leased
from mrigen.run import resolve_config
from mrigen.storage import Location

LINE_EVERY_S = 5.0


@click.command("python -m mrigen.training", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run")
@click.option("--preset", help=f"Settings to start from: {', '.join(PRESETS)}.  [default: those of RUN, else quick]")
@click.option("--config", "config_file", metavar="FILE", help="YAML file laid over the preset.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override one setting. Repeatable.")
@click.option("--phantom", type=click.IntRange(4, 9999), metavar="N", help="Make RUN/data of N phantom subjects first.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option(
    "--samples", type=click.IntRange(min=0), default=1, show_default=True, help="Samples of every trained cell."
)
def command(
    run: str,
    preset: str | None,
    config_file: str | None,
    overrides: tuple[str, ...],
    phantom: int | None,
    device: str,
    samples: int,
) -> None:
    """Train the autoencoder and the denoiser on RUN/data, and leave RUN/model and RUN/samples.

    RUN/data comes from `mrigen prepare`, or from --phantom. A killed run goes on by the same command.
    """
    folder = Location.parse(run)
    with leased(folder):
        _train(folder, resolve_config(folder, preset, config_file, overrides), phantom, device, samples)


def _train(folder: Location, config: Config, phantom: int | None, device: str, samples: int) -> None:
    from mrigen.cohort.order import CohortOrder
    from mrigen.each import OnAllCores, OneByOne
    from mrigen.process.stopping import StopSignals
    from mrigen.stages.encode import encode_run
    from mrigen.stages.generate import generate_run
    from mrigen.training.accelerator import make_accelerator
    from mrigen.training.ldm import train_denoiser
    from mrigen.training.vae import train_autoencoder

    if phantom is not None:
        _prepare_phantom(folder, config, phantom)
    accelerator = make_accelerator(config, "cuda" if device == "cuda" else "cpu")
    lines = _lines("train-vae", config.autoencoder.training.num_steps)
    with StopSignals() as stop:
        train_autoencoder(config, folder, accelerator, lines, stop)
    encode_run(folder, config, OnAllCores() if device == "cpu" else OneByOne(device))
    lines = _lines("train-ldm", config.denoiser.training.num_steps)
    with StopSignals() as stop:
        train_denoiser(config, folder, accelerator, lines, stop)
    if samples:
        out, model = folder / "samples", folder / "model"
        order = CohortOrder(per_cell=samples, seed=config.seed, redraws=0)
        generate_run(out, model, OneByOne(device), order)
        print(f"samples: {out}")
    print(f"model: {folder / 'model'}")


def _prepare_phantom(run: Location, config: Config, num_subjects: int) -> None:
    """Write a phantom cohort to `run/phantom` and prepare it into `run/data`, as the two verbs do on Ray."""
    from mrigen.each import OnAllCores
    from mrigen.sources.options import Source
    from mrigen.sources.recognise import find_all_scans
    from mrigen.stages.phantom import phantom_run
    from mrigen.stages.prepare import prepare_run

    tree, each = run / "phantom", OnAllCores()
    phantom_run(tree, each, subjects=num_subjects, seed=config.seed)
    prepared = prepare_run(run, config, find_all_scans([Source(tree)]), each)
    print(f"prepared: {prepared.num_images} images of {num_subjects} phantom subjects")


def _lines(title: str, total: int) -> Callable[[int, Mapping[str, float]], None]:
    """A report that prints a line every few seconds."""
    last = time.monotonic()

    def report(step: int, values: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S or step == total:
            last = time.monotonic()
            print(f"{title}: {step}/{total}  " + "  ".join(f"{k} {v:.4g}" for k, v in values.items()), flush=True)

    return report


if __name__ == "__main__":
    logging.getLogger("mrigen").setLevel(logging.INFO)
    logging.getLogger("mrigen").addHandler(logging.StreamHandler())
    run_command(command, "python -m mrigen.training")
