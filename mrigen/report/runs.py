"""What stands in the run folders below a folder: how far each is, in what they differ, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.fs as pafs

from mrigen.config import parse_config
from mrigen.errors import InputError
from mrigen.report.compare import read_metrics
from mrigen.report.figure_text import figure_and_interval
from mrigen.run import CONFIG, SUCCESS, settings_of
from mrigen.storage import Location
from mrigen.training.journal import LINES

_MARKS = {
    "prepare": f"data/{SUCCESS}",
    "train-vae": f"vae/{SUCCESS}",
    "encode": f"latents/{SUCCESS}",
    "train-ldm": f"ldm/{SUCCESS}",
    "generate": f"samples/{SUCCESS}",
    "evaluate": "report/metrics.json",
}
"""Of every verb the file that it leaves last."""


@dataclass(frozen=True)
class RunFacts:
    """The last verb that has `done` its work in a run, the training that is `at` some step, its settings by dotted
    name, and the KID of its samples; empty where there is none."""

    name: str
    done: str
    at: str
    settings: Mapping[str, object]
    kid: str


def read_runs(folder: Location) -> list[RunFacts]:
    """The runs that `folder` holds, by name; itself, if it is one. Raises InputError if there are none."""
    infos = folder.filesystem.get_file_info(pafs.FileSelector(folder.path, allow_not_found=True))
    places = [folder, *(folder / info.base_name for info in infos if info.type == pafs.FileType.Directory)]
    runs = [_read_run(place) for place in sorted(places, key=str) if (place / CONFIG).is_file()]
    if not runs:
        raise InputError(f"no run in {folder}: name a folder that holds run folders, such as `mrigen prepare` makes")
    return runs


def differing(runs: Sequence[RunFacts]) -> list[dict[str, object]]:
    """Of every run the settings that are not the same in all."""
    names = sorted({name for run in runs for name in run.settings})
    differ = [name for name in names if len({json.dumps(run.settings.get(name)) for run in runs}) > 1]
    return [{name: run.settings[name] for name in differ if name in run.settings} for run in runs]


def _read_run(run: Location) -> RunFacts:
    done = [verb for verb, mark in _MARKS.items() if (run / mark).is_file()]
    try:
        settings = settings_of(parse_config((run / CONFIG).read_json()))
    except InputError:  # of another version, or damaged
        settings = {}
    return RunFacts(run.name, done[-1] if done else "", _progress(run, settings), settings, _kid(run))


def _progress(run: Location, settings: Mapping[str, object]) -> str:
    for stage, section in (("ldm", "denoiser"), ("vae", "autoencoder")):
        journal = run / stage / LINES
        if journal.is_file() and not (run / stage / SUCCESS).is_file():
            lines = journal.read_bytes().rpartition(b"\n")[0].splitlines()  # the last may be half written
            step = json.loads(lines[-1])["step"] if lines else 0
            return f"train-{stage} {step}/{settings.get(f'{section}.training.num_steps', '?')}"
    return ""


def _kid(run: Location) -> str:
    try:
        figures = next(iter(read_metrics(run).figures.values()))
    except InputError:
        return ""
    told = (name for name, figure in figures.items() if name.endswith("/kid") and figure.value is not None)
    return next((figure_and_interval(name, figures[name]) for name in told), "")
