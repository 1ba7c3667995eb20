"""What a reader must know before the figures: of the data, of the samples, and of the model that made them."""

from __future__ import annotations

from collections.abc import Collection

from mrigen.cohort.plan import PLAN, read_plan
from mrigen.model_folder.card import is_phantom
from mrigen.model_folder.facts import SUMS
from mrigen.model_folder.files import subject_digest, training_subjects
from mrigen.report.provenance import Provenance
from mrigen.storage import Location

PHANTOM_NOTICE = (
    "The real images here are of a phantom cohort: brains computed from an atlas, not scanned. "
    "The figures tell nothing of patients."
)
_TAKEN_FOR_GRANTED = "that it was not trained on the held-out subjects is taken for granted here, not known."
INCOMPLETE_NOTICE = "The samples are not complete: run `mrigen generate` to its end, then evaluate again."


def notices(real: Provenance, *, complete: bool = True) -> list[str]:
    """Of the data, and of the samples; `complete` tells whether all of them were there."""
    found = []
    sources = [str(source) for source in real.get("source", ())]
    phantoms = [source for source in sources if is_phantom(source)]
    if phantoms:
        part = f"A part of the real images here ({', '.join(phantoms)}) is of a phantom cohort: computed, not scanned."
        found.append(PHANTOM_NOTICE if phantoms == sources else part)
    if not complete:
        found.append(INCOMPLETE_NOTICE)
    return found


def model_notices(model: Location, samples: Provenance, held_out: Collection[str]) -> list[str]:
    """Of whether the `held_out` subjects of this data were held out from the model too, where that is not so or not
    known.

    `model` is the run's own, which knows its training subjects; `samples` are those evaluated.
    """
    sums = model / SUMS
    own = sums.sha256() if sums.is_file() else None
    if any(name != own for name in samples.get("model_sha256", ())):
        return [f"The samples are of another model than this run's own: {_TAKEN_FOR_GRANTED}"]
    if own is None:
        return []
    trained = training_subjects(model)
    if trained is None:
        return [f"The model does not tell whom it was trained on: {_TAKEN_FOR_GRANTED}"]
    seen = [name for name in held_out if subject_digest(name) in trained]
    if not seen:
        return []
    return [
        f"{len(seen)} of {len(held_out)} held-out subjects, such as {min(seen)}, have names of subjects that the model "
        "was trained on: if they are the same, the figures flatter it."
    ]


def gate_notice(samples: Location) -> list[str]:
    """Of samples that were chosen by who judges them."""
    if not (samples / PLAN).is_file() or "labels" not in read_plan(samples).gates:
        return []
    return ["The samples were chosen by the classifier that judges them here: its figures flatter the model."]


def broken_notice(num_broken: int, num_samples: int) -> list[str]:
    """Of samples that hold values that are not finite, if there are any."""
    if not num_broken:
        return []
    return [
        f"{num_broken} of {num_samples} samples hold values that are not finite: their cells are not judged. "
        "Mend the model, and generate again."
    ]
