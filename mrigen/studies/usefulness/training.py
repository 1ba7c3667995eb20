"""One training of a classifier of pathology, and its answers on the test images: `KEY.json`, kept for later studies."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from mrigen import __version__
from mrigen.condition_classifier.classifier import classify, train_classifier
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.images.index import content_hash
from mrigen.images.labelled import LabelledImages
from mrigen.preprocess import mirrors
from mrigen.storage import Location
from mrigen.studies.usefulness.images import ClassifierTraining, StudyImages, training_rows


def answers_file(folder: Location, images: StudyImages, training: ClassifierTraining, config: Config) -> Location:
    """Where the answers of a training lie: named by a hash of all that decides them."""
    sides = (*training_rows(images, training), images.test)
    content = {
        "version": __version__,
        "seed": [config.seed, training.seed],
        "num_steps": config.studies.usefulness_steps,
        "flips": mirrors(config.data.plane),
        "images": [[[row.id, row.sha256, str(row.cell)] for row in rows] for rows in sides],
    }
    return folder / f"{content_hash(content)[:32]}.json"


def read_or_train(
    images: StudyImages, config: Config, folder: Location, device: str, training: ClassifierTraining
) -> dict[str, Any]:
    """The answers of a training: those that stand in `folder`, else published there now."""
    file = answers_file(folder, images, training, config)
    if (standing := _read(file, len(images.test))) is not None:
        return standing
    answered = train_and_test(images, training, config, device)
    file.write_json(answered)
    return answered


def train_and_test(
    images: StudyImages, training: ClassifierTraining, config: Config, device: str = "cpu"
) -> dict[str, Any]:
    """Train one classifier and let it name the pathology of every test image.

    `{"num_real_images", "num_real_subjects", "num_synthetic_images", "answers"}`; answers are rows of the pathologies'
    table, in the order of `images.test`. Images that are not finite are left out of the training. Raises InputError if
    no other is left of a kind.
    """
    rows = training_rows(images, training)
    real = LabelledImages.read(images.real, rows[0]).finite()
    made = LabelledImages.read(images.synthetic, rows[1]).finite()
    for kind, planned, found in zip(("real training", "synthetic"), rows, (real, made), strict=True):
        if planned and not len(found):
            raise InputError(f"none of {len(planned)} {kind} images is finite: there is nothing to train on")
    key = int.from_bytes(hashlib.sha256(f"usefulness/{config.seed}/{training.seed}".encode()).digest()[:7], "big")
    trained = train_classifier(
        [some for some in (real, made) if len(some)],
        None,
        num_steps=config.studies.usefulness_steps,
        generator=torch.Generator().manual_seed(key),
        flips=mirrors(config.data.plane),
        device=device,
    )
    logits, _ = classify(trained.classifier, LabelledImages.read(images.real, images.test).pixels)
    known = sorted({cell.pathology.row for cell in images.cells})
    answers = np.array(known)[logits[:, known].argmax(axis=1)]
    return {
        "num_real_images": len(real),
        "num_real_subjects": len(set(real.owners)),
        "num_synthetic_images": len(made),
        "answers": [int(answer) for answer in answers],
    }


def _read(file: Location, num_answers: int) -> dict[str, Any] | None:
    """What stands there, None if there is nothing or no answer for every test image."""
    if not file.is_file():
        return None
    try:
        standing: dict[str, Any] = file.read_json()
        return standing if len(standing["answers"]) == num_answers else None
    except (InputError, KeyError, TypeError):
        return None
