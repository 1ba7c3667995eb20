"""Fine-tuning against training from nothing, at equal steps: on a site that the embedded model has not seen, or scans.

    python docs/benchmarks/fine_tuning.py runs/site
    python docs/benchmarks/fine_tuning.py runs/scans --scans $MRIGEN_REAL_DATA/ixi_2mm

Four models: the embedded one as it is; autoencoder and denoiser from nothing; both from the embedded model; and that
with adapters of rank 8 in the place of the denoiser's weights. The three that are trained see the same images in the
same order by the same settings: those of `slice128` in bf16, but batches of 8, the autoencoder for half of the steps,
and without the cells that the embedded model has not seen. All are guided alike (cfg). Their samples are compared with
the held-out half of the people by `evaluate` and `audit`, whose figures are printed with their 95 % intervals, which
draw people. A killed one goes on by the same command. One process with one thread, no Ray.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mrigen.cohort.order import CohortOrder
from mrigen.config import Config, load_config
from mrigen.each import one_by_one
from mrigen.model_folder.facts import ModelFacts
from mrigen.sources.options import Source
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.audit import audit_run
from mrigen.stages.encode import encode_run
from mrigen.stages.evaluate import evaluate_run
from mrigen.stages.generate import generate_run
from mrigen.stages.phantom import phantom_run
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.fine_tuning import EMBEDDED, begin
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder

SITE, SUBJECTS = 12, 48
MODELS: dict[str, tuple[str | None, Sequence[str]]] = {
    "from-nothing": (None, ()),
    "fine-tuned": (EMBEDDED, ()),
    "adapters": (EMBEDDED, ("denoiser.adapter_rank=8",)),
}
"""What each begins with, and the settings that it differs by."""


def settings(steps: int, without: Sequence[str], of_one_cell: bool, more: Sequence[str] = ()) -> Config:
    both = {"batch_size": 8, "warmup_steps": 20, "preview_every": 10**6}
    of_both = [f"{net}.training.{name}={value}" for net in ("autoencoder", "denoiser") for name, value in both.items()]
    chosen = [
        "precision=bf16",
        f"held_out_cells={json.dumps(without)}",
        f"data.slice_step_mm={3 if of_one_cell else 22}",
        f"studies.classifier_steps={1 if of_one_cell else 250}",  # of one cell it has nothing to tell apart
        "data.val_fraction=0",
        "data.test_fraction=0.5",
        f"autoencoder.training.num_steps={steps // 2}",
        f"denoiser.training.num_steps={steps}",
        "denoiser.early_share=0",
        "sampler.guide=cfg",
        "evaluation.extractors=[efficientnet-lite0]",
    ]
    return load_config("slice128", overrides=[*of_both, *chosen, *more])


def trained(base: Path, name: str, config: Config, start: str | None) -> Location:
    """The model of a run that has the data of the others."""
    run, accelerator = Location.parse(base / name), make_accelerator(config)
    if not (base / name / "data" / "_SUCCESS.json").exists():
        shutil.copytree(base / "run" / "data", base / name / "data", dirs_exist_ok=True)
    if begun := begin(run, config, "vae", start):
        train_autoencoder(begun, run, accelerator, lambda step, values: None)
    config = load_config("slice128", json.dumps((run / "config.json").read_json()))
    encode_run(run, config, one_by_one)
    if begun := begin(run, config, "ldm", start):
        train_denoiser(begun, run, accelerator, lambda step, values: None)
    return run / "model"


def told(figure: Mapping[str, Any]) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    return "-" if value is None else f"{value:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def judged(base: Location, config: Config, name: str, model: Location | None, order: CohortOrder) -> None:
    """Print the row of a model, whose samples are drawn into its folder."""
    samples = base / name / "samples"
    generate_run(samples, model, one_by_one, order)
    evaluate_run(base / "run", config, one_by_one, samples=samples, out=base / name / "report")
    audit_run(base / "run", config, one_by_one, samples=samples, out=base / name / "audit")
    row = (base / name / "report" / "metrics.json").read_json()["rows"][0]
    figures, images = row["figures"], row["images"]
    audit = (base / name / "audit" / "audit.json").read_json()["overall"]
    matches, p_value = audit["matches"], audit["p_value"]
    copies = (
        "-" if p_value is None else f"{told({'value': matches['count'] / matches['n'], **matches})}, p {p_value:.2g}"
    )
    columns = [f"{images['generated']}, {images['held_out']} of {images['held_out_subjects']}"]
    columns += [told(figures["efficientnet-lite0/kid"]), told(figures["efficientnet-lite0/kid_floor"])]
    for label in ("pathology", "modality"):
        columns += [f"{told(figures[f'fidelity/{label}'])}, {told(figures[f'fidelity/{label}_real'])}"]
    print(f"| {name} | {' | '.join([*columns, copies])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=Path, help=f"healthy T1w scans, in the place of {SUBJECTS} phantoms")
    parser.add_argument("--steps", type=int, default=240, help="of the denoiser")
    parser.add_argument("--samples", type=int, default=170, help="of all cells together")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base, embedded = Location.parse(arguments.folder), ModelFacts.load(None)
    without = [str(cell) for cell, count in embedded.training_counts.items() if not count]
    by = arguments.steps, without, bool(arguments.scans)
    config = settings(*by)
    people = Location.parse(arguments.scans or arguments.folder / "people")
    if not arguments.scans:
        phantom_run(people, one_by_one, subjects=SUBJECTS, seed=0, site=SITE)
    prepared = prepare_run(base / "run", config, find_all_scans([Source(people)]), one_by_one)
    print(f"embedded model {embedded.sha256[:12]}; images {prepared.splits}, of people {prepared.subjects}\n")
    print("| model | N made, real | KID | floor | pathology, of real | modality, of real | matches |\n|" + " --- |" * 7)
    cells = [cell for cell, count in prepared.cells.items() if count and embedded.training_counts[cell]]
    asked = ",".join(f"{cell}={arguments.samples // len(cells)}" for cell in cells)
    order = CohortOrder(cells=asked, sampler={"guide": "cfg"}, redraws=0)
    judged(base, config, "embedded", None, order)
    for name, (start, more) in MODELS.items():
        judged(base, config, name, trained(arguments.folder, name, settings(*by, more), start), order)


if __name__ == "__main__":
    main()
