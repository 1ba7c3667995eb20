"""One data set against many: small models of the phantom's sites, and what a confounded design costs.

    python -m docs.benchmarks.many_sites FOLDER

Models equal but for the people that they are trained on: 60 of one site; 10 of each of six sites; all 360 of
these; 15 of each of four; and of the same four, 15 who all have one pathology, another at each site. One more of all
360 is told the source of each image, and its samples are drawn twice: of no source, and of the first site. Samples of
all 20 cells are held against people of the six sites, of the first alone, and of three sites that no model has met.
How far a model takes a site for a pathology tells the last row: of how many of its samples the nearest among real
images of the cell, as many of each of the four sites, is of the site that alone had this pathology in the confounded
design.

What is done stays in FOLDER: a killed run goes on. One process with one thread, no Ray.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from docs.benchmarks.failure_signatures import SETTINGS, figures_of, place, print_row
from mrigen.cohort.order import CohortOrder
from mrigen.config import Config, load_config
from mrigen.each import one_by_one
from mrigen.features.efficientnet import COMPUTE_BATCH, FeatureExtractor
from mrigen.images.index import Group, ImageRow, index_generated, index_real
from mrigen.images.labelled import LabelledImages, choose_per_cell
from mrigen.labels import Pathology, all_cells
from mrigen.metrics.accuracy import wilson
from mrigen.model_folder.facts import read_facts
from mrigen.phantom.sites import draw_site
from mrigen.process.threads import one_thread
from mrigen.report.figure_text import figure_and_interval
from mrigen.sources.options import Source, SourceOptions
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.encode import encode_run
from mrigen.stages.evaluate import evaluate_run
from mrigen.stages.generate import generate_run
from mrigen.stages.phantom import phantom_run
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder

KNOWN, UNSEEN = (1, 2, 3, 4, 5, 6), (9, 10, 11)
NUM_TRAINED, NUM_HELD_OUT = 60, 20
"""Subjects of a known site; of an unseen one there are none but held-out ones."""
CONFOUNDED = {6: Pathology.HEALTHY, 3: Pathology.GLIOBLASTOMA, 1: Pathology.SCLEROSIS, 4: Pathology.DEMENTIA}
"""Four sites, and the pathology that only this one has in the confounded design: one of which it has many."""
WITH_TOKEN, ASKED = "the same with a source token", "of these, site 1 asked for"
"""A model that is told sources, and those of its samples that are of one."""
PER_CELL, NEAR_PER_CELL = 24, 30
REFERENCES: Mapping[str, Sequence[int]] = {"six sites": KNOWN, "site 1": (1,), "sites never met": UNSEEN}
SHOWN = tuple(f"efficientnet-lite0/{name}" for name in ("kid", "precision", "recall", "coverage"))
SHOWN_OF_ALL = ("diversity/ms_ssim_generated", "fidelity/pathology", "fidelity/modality")

People = Mapping[int, Sequence[int]]
"""The subjects of each site, by their number."""


def designs() -> dict[str, People]:
    """Whom each model is trained on."""
    share = NUM_TRAINED // len(CONFOUNDED)
    confounded = {}
    for site, pathology in CONFOUNDED.items():
        having = [number for number in range(NUM_TRAINED) if draw_site(site).pathology_of(number) is pathology]
        confounded[site] = having[:share]
    everybody = dict.fromkeys(KNOWN, range(NUM_TRAINED))
    return {
        "one site": {1: range(NUM_TRAINED)},
        "six sites": dict.fromkeys(KNOWN, range(NUM_TRAINED // len(KNOWN))),
        "six sites with all": everybody,
        WITH_TOKEN: everybody,
        "four sites": dict.fromkeys(CONFOUNDED, range(share)),
        "four confounded": confounded,
    }


def held_out(sites: Sequence[int]) -> People:
    """Whom models are held against."""
    last = range(NUM_TRAINED, NUM_TRAINED + NUM_HELD_OUT)
    return {site: last if site in KNOWN else range(NUM_HELD_OUT) for site in sites}


def prepare(folder: Location, run: Location, config: Config, trained: People, tested: People) -> None:
    """Prepare these people and no others."""
    if (run / "data" / "_SUCCESS.json").is_file():
        return
    sources = []
    for site in sorted({*trained, *tested}):
        tree, num_subjects = folder / f"people-{site}", NUM_HELD_OUT + (NUM_TRAINED if site in KNOWN else 0)
        phantom_run(tree, one_by_one, subjects=num_subjects, seed=config.seed, site=site)
        split = dict.fromkeys(trained.get(site, ()), "train") | dict.fromkeys(tested.get(site, ()), "test")
        told = {number: draw_site(site).pathology_of(number).value for number in split}
        table = ["subject\tpathology\tsplit"]
        for number in range(num_subjects):
            row = (f"site{site}phantom{number:04d}", told.get(number, "left out"), split.get(number, "train"))
            table.append("\t".join(row))
        file = run / f".people-{site}.tsv"
        file.write_bytes("\n".join([*table, ""]).encode())
        options = SourceOptions(table=file.path, values={"left out": "skip"}, split=file.path)
        sources.append(Source(tree, options))
    prepare_run(run, config, find_all_scans(sources), one_by_one)


def make(folder: Location, name: str, config: Config) -> None:
    """Train the model of a design, let it draw samples, and measure them."""
    run = place(folder, name)
    prepare(folder, run, config, designs()[name], {})
    accelerator = make_accelerator(config)
    train_autoencoder(config, run, accelerator, lambda step, values: None)
    encode_run(run, config, one_by_one)
    train_denoiser(config, run, accelerator, lambda step, values: None)
    judge(folder, name, config, run / "model", None)
    if name == WITH_TOKEN:
        told = read_facts(Path(run.path) / "model").sources
        judge(folder, ASKED, config, run / "model", next(source for source in told if source.endswith("site 1")))


def judge(folder: Location, name: str, config: Config, model: Location, source: str | None) -> None:
    """Let a model draw samples, of a source or of none, and hold them against each reference."""
    run = place(folder, name)
    order = CohortOrder(per_cell=PER_CELL, allow_untrained=True, source=source, redraws=0, formats=("parquet",))
    generate_run(run / "samples", model, one_by_one, order)
    for reference in REFERENCES:
        report = run / "report" / reference
        if not (report / "metrics.json").is_file():
            evaluate_run(real(folder, reference), config, one_by_one, samples=run / "samples", out=report)


def real(folder: Location, reference: str) -> Location:
    """The run of those whom models are held against."""
    return place(folder, f"real {reference}")


def near_the_confounded_site(folder: Location, name: str, feature_size: int) -> tuple[int, int]:
    """Of a model's samples, how many have a nearest real image of the site that alone had their pathology in the
    confounded design; and how many samples there are. Nearest by EfficientNet's features."""
    known, drawn = (
        index_real(real(folder, "six sites") / "data", "test"),
        index_generated(place(folder, name) / "samples"),
    )
    of_site: dict[int, list[ImageRow]] = defaultdict(list)
    for row in known.rows:
        if row.group is Group.REFERENCE:
            of_site[site_of(row.owner)].append(row)
    extractor = FeatureExtractor(feature_size)
    near = LabelledImages.read(
        known, [row for site in CONFOUNDED for row in choose_per_cell(of_site[site], NEAR_PER_CELL)]
    )
    samples = LabelledImages.read(drawn, drawn.rows)
    near_features, features = features_of(extractor, near), features_of(extractor, samples)
    count = 0
    for cell in all_cells():
        places = [place for place, other in enumerate(near.cells) if other == cell]
        own = [place for place, other in enumerate(samples.cells) if other == cell]
        for nearest in torch.cdist(features[own], near_features[places]).argmin(dim=1).tolist():
            count += CONFOUNDED[site_of(near.owners[places[nearest]])] is cell.pathology
    return count, len(samples)


def site_of(owner: str) -> int:
    """The number of a subject's site, by its name."""
    return int(owner.rpartition("site")[2].partition("phantom")[0])


@torch.inference_mode()
def features_of(extractor: FeatureExtractor, images: LabelledImages) -> Tensor:
    """(N, 1280)."""
    pixels = torch.from_numpy(images.pixels.astype(np.float32))[:, None]
    return torch.cat([extractor(batch) for batch in torch.split(pixels, COMPUTE_BATCH)])


def print_table(folder: Location, config: Config) -> None:
    """A row a figure, a column a model."""
    rows: dict[str, list[str]] = defaultdict(list)
    names = list(designs())
    names.insert(names.index(WITH_TOKEN) + 1, ASKED)
    for name in names:
        for reference in REFERENCES:
            found = figures_of(place(folder, name) / "report" / reference, "All trained cells")
            for figure in SHOWN + (SHOWN_OF_ALL if reference == "six sites" else ()):
                rows[f"{reference}: {figure}"].append(figure_and_interval(figure, found[figure]))
        count, total = near_the_confounded_site(folder, name, config.evaluation.feature_size)
        low, high = wilson(count / total, total)
        rows["nearest is of the confounded site"].append(f"{count / total:.2f} ({low:.2f} to {high:.2f})")
    print_row("figure", *names)
    print_row(*["---"] * (len(names) + 1))
    for name, texts in rows.items():
        print_row(name, *texts)


def main() -> None:
    """Make and measure the models that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    folder, config = Location.parse(parser.parse_args().folder), load_config("quick", overrides=SETTINGS)
    with one_thread():
        for reference, sites in REFERENCES.items():
            trained = {site: range(NUM_TRAINED) for site in sites if site in KNOWN}
            prepare(folder, real(folder, reference), config, trained, held_out(sites))
        for name in designs():
            started = time.monotonic()
            own = [*SETTINGS, "denoiser.source_token=true"] if name == WITH_TOKEN else SETTINGS
            make(folder, name, load_config("quick", overrides=own))
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        print_table(folder, config)


if __name__ == "__main__":
    main()
