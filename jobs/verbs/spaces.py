"""`mrigen spaces`: the denoiser trained in latents and in pixels."""

from __future__ import annotations

from jobs.measuring import Stage, measuring_command


@measuring_command("spaces", "spaces")
def command() -> Stage:
    """Train the denoiser on RUN/data in latents of f4, of f8 and in pixels, for the same time and for as many steps;
    leaves RUN/spaces.

    Tells the time of a step, memory, samples a second, and how near the samples come to held-out images along the
    training. Takes about studies.space_minutes a space, autoencoders included, beside sampling; --num-workers 1 trains
    one after the other, for times that are alone. Writes spaces.json and index.html, which stands alone. A killed study
    is finished by the same command; what is done is kept in RUN/.cache.
    """
    from mrigen.stages.spaces import spaces_run

    return spaces_run
