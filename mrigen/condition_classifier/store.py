"""The condition classifier of a run: trained once, kept by a hash of all that decides it, found again by later verbs.

`RUN/.cache/classifier/KEY.safetensors` holds the weights, `KEY.json` beside it, written last, their hash and how the
training went.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mrigen import __version__
from mrigen.condition_classifier.classifier import Check, Classifier, Trained, train_classifier
from mrigen.config import Config
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, content_hash, index_real
from mrigen.images.labelled import LabelledImages, choose_per_cell
from mrigen.labels import Cell
from mrigen.preprocess import mirrors
from mrigen.storage import Location

TRAIN_PER_CELL = 500
VAL_PER_CELL = 60


@dataclass(frozen=True)
class ClassifierPlan:
    """The images that a run's classifier is trained on and calibrated by; `key` is a hash of all that decides it."""

    index: ImageIndex
    train: tuple[ImageRow, ...]
    val: tuple[ImageRow, ...]
    key: str


def plan_classifier(data: Location, config: Config) -> ClassifierPlan:
    """Choose the images of `data/` that train the classifier. Raises InputError if none is of the training split."""
    index = index_real(data, "val")
    train = choose_per_cell([row for row in index.rows if row.group == Group.REFERENCE], TRAIN_PER_CELL)
    val = choose_per_cell([row for row in index.rows if row.group == Group.HELD_OUT], VAL_PER_CELL)
    if not train:
        raise InputError(
            f"{data} holds no image of the training split, so no condition classifier can be trained: add subjects"
        )
    key = content_hash(
        {
            "version": __version__,
            "seed": config.seed,
            "num_steps": config.studies.classifier_steps,
            "flips": mirrors(config.data.plane),
            "images": [[[row.id, row.sha256, str(row.cell)] for row in rows] for rows in (train, val)],
        }
    )
    return ClassifierPlan(index, tuple(train), tuple(val), key[:32])


def find_or_train(plan: ClassifierPlan, config: Config, folder: Location, device: str = "cpu") -> Trained:
    """The classifier of `plan`: that which stands in `folder`, else one trained now and published there."""
    weights, facts = folder / f"{plan.key}.safetensors", folder / f"{plan.key}.json"
    if standing := _load(weights, facts):
        return standing
    trained = train_classifier(
        [LabelledImages.read(plan.index, plan.train)],
        LabelledImages.read(plan.index, plan.val),
        num_steps=config.studies.classifier_steps,
        generator=torch.Generator().manual_seed(config.seed),
        flips=mirrors(config.data.plane),
        device=device,
    )
    trained.classifier.to("cpu")
    data = save({name: tensor.contiguous() for name, tensor in trained.classifier.state_dict().items()})
    weights.write_bytes(data)
    facts.write_json({"weights_sha256": hashlib.sha256(data).hexdigest(), **training_facts(trained)})
    return trained


def train_once(plan: ClassifierPlan, config: Config, folder: Location, each: Each) -> Trained:
    """The classifier of `plan`, which stands in `folder` afterwards: the first round of every stage that asks it."""
    work = functools.partial(find_or_train, config=config, folder=folder, device=each.device)
    [(_, trained)] = each(work, [plan], "train the classifier")
    return cast(Trained, trained)


def training_facts(trained: Trained) -> dict[str, Any]:
    """What a report says of the classifier: training images of every cell, temperatures, and the validation losses."""
    pathology, modality = trained.classifier.temperatures.tolist()
    return {
        "counts": {str(cell): count for cell, count in trained.counts.items()},
        "temperatures": {"pathology": pathology, "modality": modality},
        "checks": [dataclasses.asdict(check) for check in trained.checks],
    }


def _load(weights: Location, facts: Location) -> Trained | None:
    """The classifier that stands there, None if there is none or a damaged one."""
    if not (weights.is_file() and facts.is_file()):
        return None
    try:
        said, data = facts.read_json(), weights.read_bytes()
        if said["weights_sha256"] != hashlib.sha256(data).hexdigest():
            return None
        classifier = Classifier(torch.Generator())
        classifier.load_state_dict(load(data))
        counts = {Cell.parse(name): int(count) for name, count in said["counts"].items()}
        checks: Sequence[Check] = [Check(**check) for check in said["checks"]]
    except (InputError, KeyError, TypeError, RuntimeError, SafetensorError):
        return None
    return Trained(classifier.eval().requires_grad_(False), counts, tuple(checks))
