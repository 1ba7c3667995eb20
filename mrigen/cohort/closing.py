"""What closes a data set: the check against its plan, the BIDS files at its top, its card and its mark."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping

from mrigen import __version__
from mrigen.cohort.plan import CohortPlan
from mrigen.cohort.shard import manifest_part
from mrigen.labels import Cell, Modality, Pathology
from mrigen.model_card import trained_on
from mrigen.records import read_file
from mrigen.run import SUCCESS
from mrigen.storage import Location

_BIDSIGNORE = f"manifest\nplan.parquet\nindex.html\ncontact_sheet.png\n{SUCCESS}\n"

_CARD = """\
# Synthetic brain MRI: {num_samples} images

Every image here is **synthetic**: drawn by a diffusion model, it is no scan and not for diagnosis. Synthetic is not
anonymous: a model can repeat images that it was trained on. This one was {trained_on}.

| pathology | {modalities} |
| --- | {rule} |
{rows}

{untrained}

- model: `{model_sha256}`
- seed {seed}; {sampler}
- made by mrigen {version}

`sub-*/anat/` holds the images as NIfTI (BIDS derivative, {plane} slices (X, Y, 1), intensities 0 to 1000) with a \
sidecar
that tells how to make each again; `manifest/*.parquet` holds the same rows with the images as tensors, readable by
plain pyarrow; `plan.parquet` what was asked for; `_SUCCESS.json` that all of it is here.
"""


def close_cohort(
    plan: CohortPlan, trained: Mapping[Cell, bool], folder: Location, plane: str, sources: Collection[str]
) -> dict[Cell, int]:
    """Check that every sample of the plan is there once, then write the files at the top, `_SUCCESS.json` last.

    `plane` is that of the slices, `sources` are the model's. Gives the number of samples a cell. Raises RuntimeError if
    rows are missing or twice.
    """
    counts: Counter[Cell] = Counter()
    participants = ["participant_id\tpathology\tmodality\ttrained_cell"]
    for shard, planned in enumerate(plan.shards()):
        rows = read_file(manifest_part(folder, shard), ["id", "pathology", "modality", "trained_cell"]).to_pylist()
        if [row["id"] for row in rows] != planned["id"].to_pylist():
            raise RuntimeError(f"{manifest_part(folder, shard)} does not hold the rows of the plan")
        for row in rows:
            counts[Cell(Pathology(row["pathology"]), Modality(row["modality"]))] += 1
            trained_cell = str(row["trained_cell"]).lower()
            participants.append(f"sub-{row['id']}\t{row['pathology']}\t{row['modality']}\t{trained_cell}")
    (folder / "participants.tsv").write_bytes(("\n".join(participants) + "\n").encode())
    (folder / "participants.json").write_json(_PARTICIPANT_COLUMNS)
    told = "Diffusion; plan: " + json.dumps(plan.to_json(), sort_keys=True)
    (folder / "dataset_description.json").write_json(
        {
            "Name": "Synthetic brain MRI (no person was scanned)",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "mrigen", "Version": __version__, "Description": told}],
        }
    )
    (folder / ".bidsignore").write_bytes(_BIDSIGNORE.encode())
    (folder / "README.md").write_bytes(_card(plan, trained, counts, plane, sources).encode())
    (folder / SUCCESS).write_json({"num_samples": plan.num_samples, "plan": plan.to_json(), "digest": plan.digest()})
    return dict(counts)


_PARTICIPANT_COLUMNS = {
    "pathology": {"Description": "Pathology that the image was conditioned on", "Levels": {p: p for p in Pathology}},
    "modality": {"Description": "Acquisition that the image was conditioned on", "Levels": {m: m for m in Modality}},
    "trained_cell": {"Description": "Whether the model saw this pathology in this modality in training"},
}


def _card(
    plan: CohortPlan, trained: Mapping[Cell, bool], counts: Mapping[Cell, int], plane: str, sources: Collection[str]
) -> str:
    def number(cell: Cell) -> str:
        mark = "" if trained[cell] or not counts.get(cell) else " *"
        return f"{counts.get(cell, 0)}{mark}"

    untrained = [str(cell) for cell in plan.cells if not trained[cell]]
    return _CARD.format(
        num_samples=plan.num_samples,
        trained_on=trained_on(sources),
        plane=plane,
        modalities=" | ".join(Modality),
        rule=" | ".join("---" for _ in Modality),
        rows="\n".join(
            f"| {pathology} | " + " | ".join(number(Cell(pathology, modality)) for modality in Modality) + " |"
            for pathology in Pathology
        ),
        untrained=(
            f"\\* never seen in training, composed from the labels alone: {', '.join(untrained)}."
            if untrained
            else "The model was trained on every cell here."
        ),
        model_sha256=plan.model_sha256,
        seed=plan.seed,
        sampler=plan.sampler,
        version=__version__,
    )
