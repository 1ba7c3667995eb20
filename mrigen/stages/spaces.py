"""The study of spaces: does a denoiser of latents learn more in the same time than one of pixels?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from mrigen.config import Config
from mrigen.config.model import setting_text
from mrigen.each import Each
from mrigen.images.index import index_real
from mrigen.process.lease import leased
from mrigen.records import read_file
from mrigen.report.notices import notices
from mrigen.report.publish import Published, publish, result_folder
from mrigen.report.spaces.page import spaces_page
from mrigen.report.spaces.words import spaces_verdict
from mrigen.run import require_finished
from mrigen.storage import Location
from mrigen.studies.spaces.looking import SpaceNetworks, shard_file
from mrigen.studies.spaces.plan import plan_shards, plan_spaces, plan_trainings
from mrigen.studies.spaces.summary import summarise
from mrigen.studies.spaces.training import encode_space, measure_spaces, train_space


def spaces_run(
    run: Location, config: Config, each: Each, *, out: Location | None = None, command: str = ""
) -> Published:
    """Train the denoiser on `run/data` in each of `studies.spaces`, for the same time and for as many steps; measure
    what that takes, and how near its samples come to held-out images.

    Writes `spaces.json` and `index.html` in `out` (RUN/spaces); `command` is what the page says it came from. What is
    done is kept in RUN/.cache: a killed study goes on. Raises InputError for a run without data, settings that do not
    fit a space, time that is too short, or if another process does the same study.
    """
    require_finished(run, config, "data", "prepare")
    out, index = result_folder(out or run / "spaces", "spaces.json"), index_real(run / "data", "test")
    plan = plan_spaces(run, config, index, each.device)
    spaces, device = config.studies.spaces, each.device
    with leased(plan.folder):
        _in_turns(each, functools.partial(encode_space, plan, device), spaces, "encode (spaces)")
        for _ in each(functools.partial(measure_spaces, plan, device), [spaces], "time steps"):
            pass
        trainings = plan_trainings(plan.read_costs(), config.studies.space_minutes)
        all_of_them = list(dict.fromkeys(training for some in trainings.values() for training in some))
        _in_turns(each, functools.partial(train_space, plan, device), all_of_them, "train")
        shards = plan_shards(plan, all_of_them, config.studies.samples_per_cell)
        load = functools.partial(SpaceNetworks, plan, config, device)
        for _ in each(SpaceNetworks.look, shards, "generate (shards)", load):
            pass
    tables = [read_file(shard_file(plan, config, shard)) for shard in shards]
    study = summarise(plan, trainings, shards, tables, config)

    told = notices(index.provenance)
    facts = {
        "Denoiser": f"block channels {setting_text(config.denoiser.block_channels)}, "
        f"attention levels {setting_text(config.denoiser.attention_levels)}, "
        f"layers per block {config.denoiser.layers_per_block}, batch size {config.denoiser.training.batch_size}",
        "Device": f"{device}, in {config.precision}" + (", one thread" if device == "cpu" else ""),
        "Sampler": str(next(iter(plan.configs.values())).sampler),
        **({"Command": command} if command else {}),
    }
    page = spaces_page(f"Latents and pixels in {run.name}", study, told, facts, plane=config.data.plane)
    verdict = spaces_verdict(study)
    figures = {"notices": told, "verdict": verdict, **study.as_json()}
    return publish(out, page, "spaces.json", figures, notices=told, words=verdict)


def _in_turns(each: Each, work: Callable[[Any], bool], items: Sequence[Any], title: str) -> None:
    """Do work on items until it is done with every one."""
    while items:
        done = dict(each(work, items, title))
        items = [item for place, item in enumerate(items) if not done[place]]
