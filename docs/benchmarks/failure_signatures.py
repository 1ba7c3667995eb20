"""Four models that are spoiled on purpose, and which figures of `evaluate` and `audit` warn of each.

    python docs/benchmarks/failure_signatures.py FOLDER

Beside a sound model, trained on phantom subjects, stand one whose conditions were dropped in 90 % of its training, one
whose autoencoder was trained for 20 steps, and two whose denoiser saw ten subjects or one, all else alike. All are
measured against the same held-out subjects, and the copies looked for among the training images of the sound one,
which hold those of the others. A figure warns where its interval lies apart from that of the sound model and on the
worse side; the audit where it fails.

What is done stays in FOLDER: a killed run goes on. `--only NAME` makes one model, after the sound one; `--set` changes
settings of all, such as their size.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrigen.cohort.order import CohortOrder
from mrigen.config import Config, load_config
from mrigen.each import one_by_one
from mrigen.metrics.figure import Figure
from mrigen.process.threads import one_thread
from mrigen.report.figure_text import apart, figure_text
from mrigen.sources.options import Source, SourceOptions
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.audit import audit_run
from mrigen.stages.encode import encode_run
from mrigen.stages.evaluate import evaluate_run
from mrigen.stages.generate import generate_run
from mrigen.stages.phantom import phantom_run
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder

NUM_SUBJECTS = 84
FEW = 10
PER_CELL = 24
SETTINGS = (
    "data.slice_step_mm=11",
    "data.test_fraction=0.35",
    "precision=bf16",
    "autoencoder.training.num_steps=600",
    "denoiser.block_channels=[32, 64]",
    "denoiser.attention_levels=[false, true]",
    "denoiser.training.num_steps=1500",
    "denoiser.training.batch_size=16",
    "denoiser.training.ema_decay=0.99",
    "evaluation.num_bootstraps=300",
    "evaluation.num_pairs=40",
    "evaluation.num_permutations=300",
    "studies.classifier_steps=400",
)
"""Laid over the preset `quick`."""


@dataclass(frozen=True)
class Model:
    """How a model is spoiled: by its settings, the subjects it is trained on, and whether it shares the autoencoder."""

    overrides: Sequence[str] = ()
    num_subjects: int | None = None
    own_autoencoder: bool = False


MODELS: Mapping[str, Model] = {
    "sound": Model(own_autoencoder=True),
    "weak conditions": Model(
        [f"denoiser.{name}_dropout=0.9" for name in ("pathology", "modality", "joint")],
    ),
    "poor autoencoder": Model(["autoencoder.training.num_steps=20"], own_autoencoder=True),
    "ten subjects": Model(num_subjects=FEW),
    "one subject": Model(num_subjects=1),
}
HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage", "psnr_db", "ssim", "pathology", "modality")
SHOWN = (
    *(f"efficientnet-lite0/{name}" for name in ("kid", "fid", "precision", "recall", "density", "coverage")),
    *(f"mri/{name}" for name in ("kid", "precision", "recall", "coverage")),
    *(f"autoencoder/{name}" for name in ("kid", "recall", "coverage")),
    "diversity/ms_ssim_generated",
    "fidelity/pathology",
    "fidelity/modality",
    "autoencoder-quality/psnr_db",
    "autoencoder-quality/lesion_mae",
)


def place(folder: Location, name: str) -> Location:
    """Where the run of a model lies."""
    return folder / name.replace(" ", "-")


def prepare(run: Location, config: Config, num_subjects: int | None) -> None:
    """Prepare phantom subjects, the first FEW of which are trained on; with a number, only so many, all trained on."""
    tree, table = run / "phantom", run / ".split.tsv"
    phantom_run(tree, one_by_one, subjects=num_subjects or NUM_SUBJECTS, seed=config.seed)
    names = sorted(Path(tree.path).glob("sub-*"))
    lines = ["subject\tsplit", *(f"{path.name.removeprefix('sub-')}\ttrain" for path in names[: num_subjects or FEW])]
    table.write_bytes("\n".join([*lines, ""]).encode())
    found = find_all_scans([Source(tree, SourceOptions(split=table.path))])
    prepare_run(run, config, found, one_by_one, allow_mixed_heads=True)


def make(folder: Location, name: str, overrides: Sequence[str]) -> None:
    """Train a model, let it draw samples, and measure them."""
    model, run, sound = MODELS[name], place(folder, name), place(folder, "sound")
    config = load_config("quick", overrides=[*SETTINGS, *overrides, *model.overrides])
    if (run / "audit" / "audit.json").is_file():
        return
    if not (run / "data" / "_SUCCESS.json").is_file():
        if run == sound or model.num_subjects:
            prepare(run, config, model.num_subjects)
        else:
            shutil.copytree(str(sound / "data"), str(run / "data"), dirs_exist_ok=True)
    if not model.own_autoencoder and not (run / "vae").is_folder():
        shutil.copytree(str(sound / "vae"), str(run / "vae"))
    accelerator = make_accelerator(config)
    train_autoencoder(config, run, accelerator, lambda step, values: None)
    encode_run(run, config, one_by_one)
    train_denoiser(config, run, accelerator, lambda step, values: None)
    order = CohortOrder(per_cell=PER_CELL, allow_untrained=True, redraws=0, formats=("parquet",))
    generate_run(run / "samples", run / "model", one_by_one, order)
    # Against the same held-out images, and by the autoencoder of its own where it has another.
    judged = run if name == "poor autoencoder" else sound
    evaluate_run(judged, config, one_by_one, samples=run / "samples", out=run / "report")
    audit_run(sound, config, one_by_one, samples=run / "samples", out=run / "audit")


def warnings(figures: Mapping[str, Figure], sound: Mapping[str, Figure]) -> set[str]:
    """The figures that lie apart from those of the sound model, on the worse side."""
    found = set()
    for name in SHOWN:
        own, other = figures[name], sound[name]
        if own.value is None or other.value is None or not apart(own, other):
            continue
        if (own.value < other.value) == (name.rpartition("/")[2] in HIGHER_IS_BETTER):
            found.add(name)
    return found


def figures_of(report: Location, row_name: str) -> dict[str, Figure]:
    """Those of a row of an evaluation, by its name."""
    row = next(row for row in (report / "metrics.json").read_json()["rows"] if row["name"] == row_name)
    return {name: Figure.from_json(figure) for name, figure in row["figures"].items()}


def print_table(folder: Location) -> None:
    """Every figure of every model; bold is what warns. The first subject is healthy, so the model of that one stands
    beside the healthy cells of the sound one."""
    columns = [(name, "Healthy" if MODELS[name].num_subjects == 1 else "All trained cells") for name in MODELS]
    columns.insert(-1, ("sound", "Healthy"))
    columns = [one for one in columns if (place(folder, one[0]) / "audit" / "audit.json").is_file()]
    found = {one: figures_of(place(folder, one[0]) / "report", one[1]) for one in columns}
    warned = {one: warnings(figures, found["sound", one[1]]) for one, figures in found.items()}
    print_row("figure", *(f"{name}: {row}" for name, row in columns))
    print_row(*["---"] * (len(columns) + 1))
    for name in SHOWN:
        shown = {one: figure_text(name, figures[name]) or "none" for one, figures in found.items()}
        print_row(name, *(f"**{text}**" if name in warned[one] else text for one, text in shown.items()))
    audits = [(place(folder, name) / "audit" / "audit.json").read_json()["overall"] for name, _ in columns]
    for share in ("flagged", "matches"):
        print_row(f"audit: {share}", *(f"{one[share]['count']} of {one[share]['n']}" for one in audits))
    p_values = [one["p_value"] for one in audits]
    print_row("audit: p", *("none" if p is None else f"**{p:.2g}**" if p < 0.01 else f"{p:.2g}" for p in p_values))
    for one in columns:
        if one[0] != "sound":
            blind = [name for name in SHOWN if name not in warned[one]]
            print(f"\n{one[0]}: blind are {', '.join(blind) or 'none'}")


def print_row(*texts: str) -> None:
    """A row of a table."""
    print(f"| {' | '.join(texts)} |")


def main() -> None:
    """Make the models that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", choices=list(MODELS), help="make this model")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    folder = Location.parse(arguments.folder)
    for name in [arguments.only] if arguments.only else MODELS:
        started = time.monotonic()
        with one_thread():
            make(folder, name, arguments.overrides)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    print_table(folder)


if __name__ == "__main__":
    main()
