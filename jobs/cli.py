"""The command `mrigen`: gathers the verbs, and turns bad input into one line and exit status 2."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from mrigen import __version__
from mrigen.command_line import run_command

# The verb, whose module in `jobs.verbs` bears its name, and its line in `mrigen --help`: modules are imported only when
# called, so that help and errors do not wait for torch and Ray.
VERBS = {
    "demo": "Make a small data set of all 20 cells with the embedded model, and a page to look at it.",
    "quickstart": "Run the whole chain, from a phantom cohort to an evaluated model, on this machine.",
    "doctor": "Check Python, Ray, storage, GPU and ports, and say what to mend.",
    "phantom": "Write a BIDS tree of phantom subjects: four pathologies, five modalities.",
    "prepare": "Turn scans on disk into training images, split by subject.",
    "train-vae": "Train the autoencoder on the prepared images.",
    "encode": "Encode the prepared images into latents, with their statistics.",
    "train-ldm": "Train the conditional denoiser on the latents; leaves the deployable model.",
    "generate": "Generate a data set: any cells, any number of samples, as BIDS, WebDataset and Parquet.",
    "verify": "Hold a generated data set against its plan and its hashes; --repair makes anew what is broken.",
    "evaluate": "Evaluate generated images against held-out real ones, with intervals and floors.",
    "runs": "List the runs in a folder: how far they are, how good, and in what they differ.",
    "compare": "Print two evaluations side by side.",
    "ablate": "Generate without a condition, without guidance, with fewer steps, and measure what it costs.",
    "usefulness": "Train classifiers on synthetic, on real and on both, and test them on real images.",
    "spaces": "Train the denoiser in latents and in pixels, for the same time and steps, and compare cost and quality.",
    "reader-study": "Let readers judge real and generated images blindly: build pages, score answers, plan numbers.",
    "audit": "Look for copies of training images among generated ones; exit status 1 if there are.",
    "serve": "Answer requests for samples over HTTP.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"jobs.verbs.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command {args[0]!r}: known are {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mrigen")
def cli() -> None:
    """Synthetic brain MRI of a chosen pathology and modality, by latent diffusion on Ray.

    `mrigen VERB --help` tells each command's options.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit, as `run_command` says."""
    run_command(cli, "mrigen", args)


if __name__ == "__main__":
    main()
