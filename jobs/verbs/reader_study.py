"""`mrigen reader-study`: can readers tell generated images from real ones?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

import click

from jobs.measuring import SAMPLES, tell
from jobs.options import Settings, config_options, input_folder, output_location
from mrigen.storage import Location


@click.group("reader-study")
def command() -> None:
    """Let readers judge real and generated images blindly: build the pages, score the answers, plan the numbers."""


@command.command("build")
@click.argument("run")
@click.option("--out", required=True, metavar="STUDY", help="A new folder for the study.")
@click.option("--cells", metavar="CELLS", help="Such as GBM:T1ce,MS:*.  [default: all with real images and samples]")
@click.option("--images", "num_images", type=int, default=120, show_default=True, help="Images, half of them real.")
@click.option("--repeats", "num_repeats", type=int, default=12, show_default=True, help="How many are shown twice.")
@click.option("--readers", "num_readers", type=int, default=3, show_default=True, help="A page for each.")
@click.option("--margin", type=float, default=0.1, show_default=True, help="Accuracies so near to 0.5 are guesses.")
@click.option("--ask", "asked", multiple=True, help="Ask for the pathology or the modality, too. Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of images, and of their order.")
@SAMPLES
@config_options
def build(run: str, out: str, cells: str | None, samples: str | None, settings: Settings, **asked: object) -> None:
    """Build a study of RUN's samples among its held-out real images.

    STUDY/pages has one file for each reader, which needs nothing but a browser: it keeps the answers until the reader
    saves them to be sent back. STUDY/key.json holds the truth: keep it from the readers.
    """
    from mrigen.config import parse_section
    from mrigen.errors import InputError
    from mrigen.stages.reader_study import build_study
    from mrigen.studies.reader_study.design import StudyOrder
    from mrigen.studies.reader_study.power import Readers

    folder = input_folder(run, "RUN")
    config = settings.resolve(folder)
    order = parse_section(StudyOrder, asked, "reader-study build")
    built = build_study(
        folder,
        config,
        order,
        output_location(out),
        samples=input_folder(samples, "--samples") if samples is not None else None,
        cells=cells,
        command=shlex.join(["mrigen", *sys.argv[1:]]),
    )
    for notice in built.key.notices:
        click.echo(f"note: {notice}", err=True)
    if built.licences:
        licences = ", ".join(built.licences)
        click.echo(f"note: the pages hold real images, under {licences}: see who may have them", err=True)
    for page in built.pages:
        click.echo(f"page: {page}")
    click.echo(f"key:  {Location.parse(out) / 'key.json'} (not for readers)")
    try:
        power = Readers(order.num_readers).power_of_equivalence(order.num_images, order.margin)
        click.echo(f"power to show readers who guess to lie within {order.margin:g} of 0.5: {power:.2f}")
    except InputError:
        click.echo("note: with one reader the result will hold for that reader alone", err=True)


@command.command("score")
@click.argument("study")
@click.argument("answers", nargs=-1)
@click.option("--out", metavar="DIR", help="Where to write the result.  [default: STUDY/result]")
def score(study: str, answers: tuple[str, ...], out: str | None) -> None:
    """Score the files ANSWERS that readers sent back; writes scores.json and index.html, which stands alone.

    Accuracy, d' and criterion, ROC area with readers and images as random, each with its interval and tested against
    chance; equivalence to chance (TOST) with the margin of the study; agreement of readers with each other and with
    themselves; time.
    """
    from mrigen.stages.reader_study import score_study

    published = score_study(
        input_folder(study, "STUDY"),
        [Location.parse(file) for file in answers],
        out=output_location(out) if out is not None else None,
        command=shlex.join(["mrigen", "reader-study", "score", study, *answers]),
    )
    tell(published)


@command.command("size")
@click.option("--readers", "number", type=int, default=3, show_default=True)
@click.option("--margin", type=click.FloatRange(0.01, 0.49), default=0.1, show_default=True, help="As of build.")
@click.option("--power", type=click.FloatRange(0.1, 0.99), default=0.8, show_default=True)
@click.option("--reader-sd", type=float, default=0.02, show_default=True, help="Spread of the readers' accuracies.")
@click.option("--correlation", type=float, default=0.1, show_default=True, help="Of two readers' answers to an image.")
def size(number: int, margin: float, power: float, reader_sd: float, correlation: float) -> None:
    """Tell how many images a study needs."""
    from mrigen.errors import InputError
    from mrigen.studies.reader_study.power import Readers

    readers = Readers(number, reader_sd, correlation)
    aims: dict[str, Callable[[], int]] = {
        f"show that readers who guess lie within {margin:g} of 0.5": lambda: readers.images_for_equivalence(
            margin, power
        ),
        f"tell readers of accuracy {0.5 + margin:g} from guessing": lambda: readers.images_against_chance(
            margin, power
        ),
    }
    for aim, images in aims.items():
        try:
            click.echo(f"to {aim}: {images()} images")
        except InputError as error:
            click.echo(f"to {aim}: {error}")
