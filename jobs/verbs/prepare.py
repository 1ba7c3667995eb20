"""`mrigen prepare`: scans on disk to training images, split by subject, on Ray Data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import click

from jobs.options import Settings, config_options, cpu_worker_options, output_location
from jobs.placement import Placement
from mrigen.storage import Location

if TYPE_CHECKING:
    from mrigen.sources.scans import Rejected

EX_DATAERR = 65
SHOWN_FAULTS = 20


@click.command("prepare")
@click.argument("places", nargs=-1, required=True, metavar="SRC... RUN")
@click.option("--dry-run", is_flag=True, help="Show what was recognised, and stop. RUN may be left out.")
@click.option("--strict", is_flag=True, help="Stop at the first file that cannot be used, with exit status 65.")
@click.option("--allow-mixed-heads", is_flag=True, help="Take stripped brains and whole heads together.")
@click.option(
    "--source-option",
    "source_options",
    metavar="KEY=VALUE",
    multiple=True,
    help="How to understand every SRC, such as pathology=Dementia or table=cdr.csv. Repeatable.",
)
@config_options
@cpu_worker_options
def command(
    places: tuple[str, ...],
    dry_run: bool,
    strict: bool,
    allow_mixed_heads: bool,
    source_options: tuple[str, ...],
    settings: Settings,
    placement: Placement,
) -> None:
    """Turn the scans of each SRC into the training images of the folder RUN.

    SRC is a BIDS tree (pathology in participants.tsv), a folder of data sets that are known by their names (BraTS,
    IXI, OASIS ...), a table of scans (CSV, TSV, Parquet), or a .yaml file that lists several of these with options of
    their own. Files that cannot be used are listed with the reason in RUN/quarantine/quarantine.parquet; where nothing
    is left, the exit status is 65. A killed run is finished by the same command, which also adds new files.
    """
    from jobs import showing_data
    from jobs.each_on_ray import EachOnRay
    from mrigen.sources.options import parse_options, read_sources
    from mrigen.sources.recognise import find_all_scans
    from mrigen.stages.prepare import prepare_run, survey_run

    *named, run = places if len(places) > 1 or not dry_run else (*places, "")
    if not named:
        raise click.UsageError("name at least one SRC, and then RUN: mrigen prepare SRC... RUN")
    config = settings.resolve(Location.parse(run) if run else None)
    folder = output_location(run) if run and not dry_run else None
    found = find_all_scans(read_sources(named, parse_options(source_options)))
    showing_data.print_found(found)
    each, on_rejected = EachOnRay(placement), _teller(strict)
    fault, prepared = "", None
    try:
        if folder is None:
            facts, rejected = survey_run(Location.parse(run) if run else None, config, found, each, on_rejected)
            showing_data.print_survey(facts, rejected, config.data)
            if facts:
                return
            _end(f"nothing to use in {', '.join(named)}")
        prepared = prepare_run(
            folder, config, found, each, on_rejected=on_rejected, allow_mixed_heads=allow_mixed_heads
        )
    except _FirstFault as stopped:
        fault = str(stopped)
    if prepared is None or folder is None:  # told here, after the work has come to rest and its progress was shown
        _end(f"{fault} (--strict)")
    showing_data.print_prepared(prepared, folder)
    if not prepared.num_images:
        _end(f"no image came of {', '.join(named)}: see {folder / 'quarantine'}")


class _FirstFault(Exception):
    """A file that cannot be used, where none is allowed."""


def _end(reason: str) -> NoReturn:
    click.echo(f"mrigen: error: {reason}", err=True)
    raise click.exceptions.Exit(EX_DATAERR)


def _teller(strict: bool) -> Callable[[Rejected], None]:
    """Print a line for each of the first files that are left out; if `strict`, stop at the first."""
    told = 0

    def tell(item: Rejected) -> None:
        nonlocal told
        told += 1
        if strict:
            raise _FirstFault(item.reason)
        if told <= SHOWN_FAULTS:
            click.echo(f"left out: {item.reason}", err=True)
        elif told == SHOWN_FAULTS + 1:
            click.echo("left out: more files, all of which will be in the quarantine", err=True)

    return tell
