"""What a data set's card says of persons who are seen in several modalities: whether these show one anatomy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from mrigen.agreement import FIGURES, agreement_of
from mrigen.cohort.plan import CohortPlan
from mrigen.cohort.shard import manifest_part
from mrigen.model_folder.card import is_phantom
from mrigen.records import read_file, tensor_numpy
from mrigen.storage import Location

NUM_MEASURED = 32
"""Persons of each pathology."""

_WORDS = """\
Every person is seen in {modalities}: rows with one `seed` show one person, in one slice and with one pathology. Their
images were drawn from the same noise, and nothing else holds their anatomy together.
{measured}
"""
_MEASURED = """
How far it does, in the first {num_persons} persons:

| of two modalities | one person | two persons |
| --- | --- | --- |
{rows}
{reference}"""
_REFERENCE = """
Subjects of the phantom, which the model was trained on, are measured beside it in docs/guides/generate.md of mrigen.
"""


def words_of_persons(plan: CohortPlan, folder: Location, sources: Collection[str]) -> str:
    """A paragraph and a table of the card, which end with an empty line; "" where a person is seen once.

    `sources` are those of the model's training images.
    """
    if len(plan.modalities) < 2:
        return ""
    groups: dict[str, dict[tuple[float, int], list[Any]]] = defaultdict(lambda: defaultdict(list))
    for shard in plan.first_shards(NUM_MEASURED):
        table = read_file(manifest_part(folder, shard), ["pathology", "index", "slice_mm", "image"])
        rows = table.drop_columns("image").to_pylist()
        for row, image in zip(rows, tensor_numpy(table["image"]), strict=True):
            groups[row["pathology"]][row["slice_mm"], row["index"]].append(image)
    found = agreement_of([[images for _, images in sorted(persons.items())] for persons in groups.values()])
    measured = ""
    if found is not None:
        measured = _MEASURED.format(
            num_persons=found.num_persons,
            rows="\n".join(f"| {name} | {found.same[name]:.2f} | {found.others[name]:.2f} |" for name in FIGURES),
            reference=_REFERENCE if sources and all(map(is_phantom, sources)) else "",
        )
    return _WORDS.format(modalities=", ".join(plan.modalities), measured=measured)
