"""`mrigen usefulness`: classifiers trained on synthetic images, on real ones and on both."""

from __future__ import annotations

from jobs.measuring import SAMPLES, Stage, measuring_command


@measuring_command("usefulness", "usefulness", SAMPLES)
def command() -> Stage:
    """Train classifiers of pathology on synthetic, on real and on both kinds of images; leaves RUN/usefulness.

    All are tested on the held-out real images of RUN/data, at several amounts of real data and with several seeds.
    Writes usefulness.json and index.html, which stands alone. Every training that is done is kept (RUN/.cache): a
    killed study is finished by the same command, and one of other samples trains on them alone.
    """
    from mrigen.stages.usefulness import usefulness_run

    return usefulness_run
