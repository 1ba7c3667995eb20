"""`mrigen verify`: a generated data set against its plan and its hashes, on Ray Data."""

from __future__ import annotations

import click

from jobs.options import input_folder, require_writable, worker_options
from jobs.placement import Placement


@click.command("verify")
@click.argument("out")
@click.option("--repair", is_flag=True, help="Make anew what is missing or broken.")
@click.option("--model", metavar="DIR", help="What made OUT, to repair with.  [default: the embedded model]")
@worker_options(default_workers=2)
def command(out: str, repair: bool, model: str | None, placement: Placement) -> int:
    """Hold the data set in OUT against its plan: rows, files and hashes; exit status 1 if anything differs."""
    from jobs.each_on_ray import EachOnRay
    from mrigen.stages.verify import repair_run, verify_run

    folder, each = input_folder(out, "OUT"), EachOnRay(placement)
    if repair:
        require_writable(folder)
    found = verify_run(folder, each)
    for line in found.words:
        click.echo(line)
    if found.num_differences > len(found.words):
        click.echo(f"and {found.num_differences - len(found.words)} more")
    if found.num_differences and repair:
        repair_run(folder, input_folder(model, "--model") if model is not None else None, each)
        found = verify_run(folder, each)
        click.echo(f"repaired; {found.num_differences} differences are left: {'; '.join(found.words) or 'none'}")
    click.echo(f"{found.num_samples} samples planned, {found.num_differences} differences")
    return int(found.num_differences > 0)
