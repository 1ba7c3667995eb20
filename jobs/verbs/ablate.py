"""`mrigen ablate`: generation without a condition, without guidance and with fewer steps."""

from __future__ import annotations

import functools

import click

from jobs.measuring import Stage, measuring_command


@measuring_command("ablate", "ablation")
def command() -> Stage:
    """Generate with RUN/model again, leaving something out each time, and measure what it costs; leaves RUN/ablation.

    Without the pathology, without the modality, without guidance, at other guidance scales, and with each solver at
    several numbers of steps. A few samples of every trained cell are held against the held-out real images of
    RUN/data by KID and by a classifier of pathology and modality. Writes ablation.json and index.html, which stands
    alone. A killed ablation is finished by the same command; what is done is kept in RUN/.cache.
    """
    from mrigen.stages.ablate import ablate_run

    return functools.partial(ablate_run, tell=lambda note: click.echo(f"note: {note}", err=True))
