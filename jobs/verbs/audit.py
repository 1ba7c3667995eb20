"""`mrigen audit`: does the model copy its training images?"""

from __future__ import annotations

from jobs.measuring import SAMPLES, Stage, measuring_command, split_option

HELD_OUT = split_option("Held-out images that tell how like new people are to training.")


@measuring_command("audit", "audit", SAMPLES, HELD_OUT, keeps_cache=False)
def command() -> Stage:
    """Look for copies of training images among the samples; leaves RUN/audit.

    Every sample is compared with the training images and with the held-out images of its cell. Writes audit.json and
    index.html, which stands alone and shows training images: keep it where they may be kept. Exit status 0: no copies
    detected; 1: copies detected, or nothing could be decided. A killed run is resumed by the same command.
    """
    from mrigen.stages.audit import audit_run

    return audit_run
