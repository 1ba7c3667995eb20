"""What closes a data set: its BIDS files at the top, its card, the metadata that machines read, and its mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mrigen import __version__
from mrigen.cohort.croissant import croissant
from mrigen.cohort.persons import words_of_persons
from mrigen.cohort.plan import CohortPlan, closed_by, read_plan
from mrigen.cohort.shard import manifest_part
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology
from mrigen.model_folder.card import cells_table, trained_on, under_licences
from mrigen.model_folder.facts import ModelFacts
from mrigen.process.lease import leased
from mrigen.run import SUCCESS
from mrigen.storage import Location

_NOT_BIDS = ("manifest", "webdataset", "huggingface", "previews", "rejected", "plan.json", "croissant.json")
_BIDSIGNORE = "\n".join([*_NOT_BIDS, "index.html", "contact_sheet.png", SUCCESS, ""])

_CARD = """\
---
pretty_name: Synthetic brain MRI
tags: [medical, mri, brain, synthetic]
task_categories: [image-classification]
size_categories: ["{size}"]
license: other
license_name: that-of-the-training-images
{configs}---
# Synthetic brain MRI: {num_samples} images

Every image here is **synthetic**: drawn by a diffusion model, it is no scan and not for diagnosis. Synthetic is not
anonymous: a model can repeat images that it was trained on. This one was {trained_on}.
{licences}

{cells}

{untrained}

{persons}- model: `{model_sha256}`
- seed {seed}{source}; {sampler}
- {num_rejected} drawings could be no scan{or_gate} and were drawn anew, {num_left_out} samples left out for that
{gates}- made by mrigen {version}

{files}
"""

_CONFIGS = """\
configs:
- config_name: default
  data_files: [{split: train, path: "huggingface/*.parquet"}]
"""
_GATES = {
    "labels": "- every sample is as likely to show its labels, by a classifier, as 95 % of real images of its cell: "
    "what the same classifier says of them flatters the model\n",
    "copies": "- no sample is more like a training image than held-out images are, but for the most alike of these, by "
    "the measure of `mrigen audit`: that is no promise of anonymity\n",
}
_FIGURES = "\n## Figures of the images\n\n"
_PARQUET = """""\
`manifest/*.parquet` holds a row a sample, with what makes it again and the image as a tensor, -1 to 1, for plain
pyarrow. `plan.json` is what was asked for; `_SUCCESS.json` is written last."""
_FILES = {
    "bids": "`sub-*/anat/` holds the images as NIfTI (BIDS derivative, {plane} slices (X, Y, 1), intensities 0 to "
    "1000), with a sidecar each.",
    "webdataset": "`webdataset/*.tar` holds them as WebDataset: `ID.npy`, float16 in -1 to 1, and `ID.json`.",
    "huggingface": "`huggingface/*.parquet` holds them for `datasets.load_dataset(FOLDER)`.",
    "previews": "`previews/*.png` shows them, 8-bit, with what makes each again in its text.",
}


@dataclass(frozen=True)
class Rejections:
    """Drawings that could be no scan, by the reason, and the ids of samples of which every one was such."""

    counts: Mapping[str, int] = field(default_factory=dict)
    left_out: Collection[str] = frozenset()


def close_cohort(
    plan: CohortPlan,
    model: ModelFacts,
    folder: Location,
    rejections: Rejections,
) -> None:
    """Write the files at the top of a data set whose shards are made, `_SUCCESS.json` last.

    Raises RuntimeError unless each shard has its part of the manifest.
    """
    found = {file.path for file in (folder / "manifest").files(".parquet")}
    planned = {manifest_part(folder, shard).path for shard in range(plan.num_shards)}
    if missing := sorted(planned - found):
        raise RuntimeError(f"{missing[0]} is missing")
    counts = plan.counts
    counts.subtract(kind.cell for name in rejections.left_out if (kind := plan.kind_of(name)))
    description = {
        "Name": "Synthetic brain MRI (no person was scanned)",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "mrigen", "Version": __version__, "Description": f"Diffusion; plan {plan.digest()}"}],
    }
    if "bids" in plan.formats:
        _write_participants(plan, model, folder, rejections.left_out)
        several = {"modality": {"Description": "Acquisitions that the person is seen in"}} if plan.modalities else {}
        (folder / "participants.json").write_json(_PARTICIPANT_COLUMNS | several)
        (folder / "dataset_description.json").write_json(description)
        (folder / ".bidsignore").write_bytes(_BIDSIGNORE.encode())
    sources = model.training_sources
    card = _card(plan, counts, model, rejections, words_of_persons(plan, folder, sources))
    (folder / "README.md").write_bytes(card.encode())
    (folder / "croissant.json").write_json(croissant(plan, trained_on(sources), counts.total()))
    names = (
        "croissant.json",
        "participants.tsv",
        "participants.json",
        "dataset_description.json",
        ".bidsignore",
        "README.md",
    )
    files = {name: (folder / name).sha256() for name in names if (folder / name).is_file()}
    (folder / SUCCESS).write_json(
        {
            "num_samples": counts.total(),
            "cells": {str(cell): count for cell, count in counts.items()},
            "rejected": dict(sorted(rejections.counts.items())),
            "num_left_out": len(rejections.left_out),
            "digest": plan.digest(),
            "files": files,
        }
    )


def tell_figures(figures: str, folder: Location, digest: str) -> None:
    """Put the figures of an evaluation at the end of a card, in place of former ones. A closing takes them away again,
    since what it closes is another data set.

    Raises InputError unless `folder` is free, still holds the data set that the plan with that digest closed, and the
    card that was written then.
    """
    with leased(folder):
        card, closed = folder / "README.md", (folder / SUCCESS).read_json() if closed_by(folder) == digest else None
        if closed is None or not card.is_file() or card.sha256() != closed["files"].get(card.name):
            raise InputError(f"{folder} was changed since: call `mrigen verify`, then evaluate again")
        told = card.read_bytes().decode().partition(_FIGURES)[0]
        card.write_bytes(f"{told}{_FIGURES}{figures}".encode())
        closed["files"][card.name] = card.sha256()
        (folder / SUCCESS).write_json(closed)


def is_closed(plan: CohortPlan, folder: Location) -> bool:
    """Whether the data set of that plan was closed in `folder`, by this version or an earlier one."""
    return closed_by(folder) is not None and read_plan(folder) == plan


_PARTICIPANT_COLUMNS = {
    "pathology": {"Description": "Pathology that the image was conditioned on", "Levels": {p: p for p in Pathology}},
    "modality": {"Description": "Acquisition that the image was conditioned on", "Levels": {m: m for m in Modality}},
    "trained_cell": {"Description": "Whether the model saw this pathology in this modality in training"},
}


def _write_participants(plan: CohortPlan, model: ModelFacts, folder: Location, left_out: Collection[str]) -> None:
    with (folder / "participants.tsv").writing() as file:
        file.write(b"participant_id\tpathology\tmodality\ttrained_cell\n")
        for shard in range(plan.num_shards):
            for row in plan.shard(shard):
                cell = row.kind.cell
                shown = plan.modalities or (cell.modality,)
                # A person's images follow each other; none or all are left out.
                if row.id in left_out or cell.modality != shown[0]:
                    continue
                known = all(model.is_trained(Cell(cell.pathology, modality)) for modality in shown)
                line = f"sub-{row.subject}\t{cell.pathology}\t{','.join(shown)}\t{str(known).lower()}\n"
                file.write(line.encode())


def size_class(count: int) -> str:
    """The number of samples, in the classes of dataset cards: `1K<n<10K`."""
    low = max(1_000, 10 ** (len(str(count)) - 1))
    units = {10**9: "B", 10**6: "M", 10**3: "K"}
    lower, upper = (
        next(f"{number // unit}{name}" for unit, name in units.items() if number >= unit) for number in (low, 10 * low)
    )
    return f"{lower}<n<{upper}" if count >= 1_000 else "n<1K"


def _card(
    plan: CohortPlan,
    counts: Counter[Cell],
    model: ModelFacts,
    rejections: Rejections,
    persons: str,
) -> str:
    def number(cell: Cell) -> str:
        mark = "" if model.is_trained(cell) or not counts[cell] else " *"
        return f"{counts[cell]}{mark}"

    plane = model.config.data.plane
    untrained = [str(cell) for cell in counts if not model.is_trained(cell)]
    return _CARD.format(
        num_samples=counts.total(),
        size=size_class(counts.total()),
        num_rejected=sum(rejections.counts.values()),
        or_gate=", or was rejected by a gate," if plan.gates else "",
        gates="".join(_GATES[name] for name in plan.gates),
        num_left_out=len(rejections.left_out),
        configs=_CONFIGS if "huggingface" in plan.formats else "",
        trained_on=trained_on(model.training_sources),
        licences=under_licences(model.training_licences),
        cells=cells_table(number),
        untrained=(
            f"\\* never seen in training, composed from the labels alone: {', '.join(untrained)}."
            if untrained
            else "The model was trained on every cell here."
        ),
        persons=persons,
        model_sha256=plan.model_sha256,
        seed=plan.seed,
        source="" if plan.source is None else f", source {plan.source}",
        sampler=plan.sampler,
        version=__version__,
        files="\n".join([*(_FILES[name].format(plane=plane) for name in plan.formats if name in _FILES), _PARQUET]),
    )
