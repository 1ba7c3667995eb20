"""Images to latents: `data/` and `vae/` in, `latents/` out."""

from __future__ import annotations

import functools

from mrigen.config import Config
from mrigen.each import Each
from mrigen.records import prepared_parts
from mrigen.run import is_finished, require_finished, store_config
from mrigen.storage import Location
from mrigen.training.latents import Encoder, close_latents


def encode_run(run: Location, config: Config, each: Each) -> None:
    """Encode `run/data` with `run/vae`, file by file; leaves `run/latents`, with statistics over the training rows.

    Files that are done are kept; `config.json` then holds the settings. Raises InputError if a stage before this one is
    unfinished, or `run/latents` is of other settings.
    """
    require_finished(run, config, "vae", "train-vae")
    finished = is_finished(run, config, "latents")
    store_config(run, config)
    if finished:
        return
    names = sorted(prepared_parts(run / "data"))
    require_finished(run, config, "data", "prepare")
    load = functools.partial(Encoder, run, config, each.device)
    sums = dict(each(Encoder.encode, names, "encode", load))
    # Added in the order of the names, so that the last digit does not hang on who was first.
    close_latents(run, config, [sums[place] for place in range(len(names))])
