"""What samples are held to besides being scans, where asked for: the labels, and not to be copies."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from mrigen.audit.copy_gate import CopyGate, copy_limits, require_held_out
from mrigen.audit.pairing import AuditPlan, plan_audit
from mrigen.cohort.shard import Gate
from mrigen.condition_classifier.classifier import Trained
from mrigen.condition_classifier.label_gate import LabelGate, label_limits, require_real
from mrigen.condition_classifier.store import ClassifierPlan, find_or_train, plan_classifier, train_once
from mrigen.config import Config
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, index_real
from mrigen.images.labelled import LabelledImages
from mrigen.labels import Cell, all_cells
from mrigen.model_folder.files import subject_digest, training_subjects
from mrigen.storage import Location

GATES = ("labels", "copies")
Opener = Callable[[str], Gate]
"""Makes a gate on a device."""


@dataclass(frozen=True)
class GatePlan:
    """Gates by the data of the run that a model lies in, whose `.cache` keeps what they need."""

    cache: Location
    config: Config
    labels: ClassifierPlan | None = None
    copies: AuditPlan | None = None

    @property
    def hashes(self) -> Mapping[str, str]:
        """A hash of all that decides each gate."""
        found = {"labels": self.labels and self.labels.key, "copies": self.copies and self.copies.digest}
        return {name: value for name, value in found.items() if value}

    def prepared(self, cells: Sequence[Cell], each: Each) -> list[Opener]:
        """What opens the gates for samples of these cells in a worker; `.cache` keeps what it takes."""
        found: list[Opener] = []
        if self.labels is not None:
            folder = self.cache / "classifier"
            trained = train_once(self.labels, self.config, folder, each)
            limits = label_limits(trained, LabelledImages.read(self.labels.index, self.labels.val), cells)
            found.append(functools.partial(_label_gate, self.labels, self.config, folder, limits))
        if self.copies is not None:
            folder = self.cache / "copies" / self.copies.digest[:32]
            limits = copy_limits(self.copies, cells, self.config, folder, each)
            found.append(functools.partial(CopyGate, self.copies, limits, self.config, folder))
        return found


def plan_gates(names: Collection[str], model: Location | None, config: Config, cells: Sequence[Cell]) -> GatePlan:
    """The gates of these names for samples of a model folder, trained with `config`, of these cells.

    Raises InputError for an unknown name, a model that lies in no run, or one that was trained on others than the
    training subjects of that run's data, of whom a copy would pass, and for a cell with too few real images to say what
    is usual.
    """
    if unknown := [name for name in names if name not in GATES]:
        raise InputError(f"--gates {unknown[0][:80]!r}: known are {', '.join(GATES)}")
    if model is None:
        raise InputError("--gates: the embedded model comes without the images that it was trained on: name a --model")
    run = model.parent
    if not (run / "data").is_folder():
        raise InputError(f"--gates: {run} has no data/: the model has to lie in the run that it was trained in")
    labels = plan_classifier(run / "data", config) if "labels" in names else None
    if labels is not None:
        require_real(Counter(row.cell for row in labels.train), (row.cell for row in labels.val), cells)
    if "copies" not in names:
        return GatePlan(run / ".cache", config, labels)
    real = index_real(run / "data", "test")
    known = {subject_digest(row.owner) for row in real.rows if row.group == Group.REFERENCE}
    if unseen := (training_subjects(model) or frozenset()) - known:
        raise InputError(
            f"--gates copies: {model} was trained on {len(unseen)} subjects that are not of the training split of "
            f"{run / 'data'}: copies of them would pass"
        )
    copies = plan_audit(real, ImageIndex(), config, all_cells())
    require_held_out(copies, cells)
    return GatePlan(run / ".cache", config, labels, copies)


def _label_gate(
    plan: ClassifierPlan, config: Config, folder: Location, limits: Mapping[Cell, float], device: str
) -> LabelGate:
    standing = find_or_train(plan, config, folder, device)
    return LabelGate(Trained(standing.classifier.to(device), standing.counts), limits)
