"""The networks that an evaluation looks through: the run's autoencoder and its condition classifier, and
those of the user. Each is found, opened, and used as an extractor of features."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as functional
from torch import Tensor

from mrigen.condition_classifier.classifier import Classifier
from mrigen.condition_classifier.store import ClassifierPlan, find_or_train, plan_classifier
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.features.names import AUTOENCODER, EFFICIENTNET, MRI
from mrigen.features.pretrained import PretrainedFeatures, load_pretrained
from mrigen.model_folder.facts import SUMS
from mrigen.model_folder.files import load_autoencoder
from mrigen.models.autoencoder import Autoencoder
from mrigen.storage import Location

WEIGHTS = "diffusion_pytorch_model.safetensors"
NO_CLASSIFIER = "no condition classifier, for there is no image of the training split to train it on: add subjects"
"""A reason in `metrics.json`, where the condition classifier goes by the name of judge."""
LATENT_SIDE = 8
"""Latents are averaged down to this many positions a side at the most."""

Extractor = Callable[[Tensor], Tensor]
"""Images (B, 1, S, S) in [-1, 1] -> features (B, F); equal batches give equal bits."""


def autoencoder_features(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """The mean of the posterior, averaged down to LATENT_SIDE positions a side and laid out flat, (B, C * side * side).

    It sees what this run's denoiser is trained on, and knows MRI, which EfficientNet does not. But generated images
    were decoded by it, and what it cannot express it does not see; so it stands beside another extractor.
    """
    mean = autoencoder.encode(images).mean
    return functional.adaptive_avg_pool2d(mean, min(LATENT_SIDE, *mean.shape[2:])).flatten(1)


@dataclass(frozen=True)
class OpenNetworks:
    """The networks in memory, ready to use; None for what the run has not."""

    autoencoder: Autoencoder | None = None
    classifier: Classifier | None = None
    pretrained: Mapping[str, PretrainedFeatures] = field(default_factory=dict)

    def extractor(self, name: str, feature_size: int, device: torch.device) -> Extractor:
        """The extractor of that name; `feature_size` is that of EfficientNet. Raises ValueError for one whose network
        is not there."""
        if name == EFFICIENTNET:
            return FeatureExtractor(feature_size).to(device)
        if name == AUTOENCODER and self.autoencoder is not None:
            return functools.partial(autoencoder_features, self.autoencoder)
        if name == MRI and self.classifier is not None:
            return self.classifier.features
        if name in self.pretrained:
            return self.pretrained[name]
        raise ValueError(f"no network for the extractor {name!r}")


@dataclass(frozen=True)
class Networks:
    """Where the networks are, with a hash of all that each depends on, by the name of the extractor that it is.

    What is not there is None, has no hash, and its reason stands in `absent`. The classifier is found in
    `classifiers`, or trained and left there.
    """

    classifiers: Location
    autoencoder: Location | None = None
    classifier: ClassifierPlan | None = None
    weights: Mapping[str, Location] = field(default_factory=dict)
    """Files of the user's, by the name of the extractor."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def open(self, config: Config, device: torch.device) -> OpenNetworks:
        """Load all that there are onto `device`; trains the classifier if nobody did."""
        autoencoder = classifier = None
        if self.autoencoder is not None:
            with self.autoencoder.as_local() as folder:
                autoencoder = load_autoencoder(folder).to(device)
        if self.classifier is not None:
            classifier = find_or_train(self.classifier, config, self.classifiers, str(device)).classifier.to(device)
        pretrained = {name: load_pretrained(name, file).to(device) for name, file in self.weights.items()}
        return OpenNetworks(autoencoder, classifier, pretrained)


def find_networks(run: Location, config: Config) -> Networks:
    """The networks of a run folder, and those that the user brings; the classifier is planned, not trained yet.

    Raises InputError for a file of weights that is not there or does not hold what it should.
    """
    hashes, absent = {}, {}
    if (autoencoder := find_autoencoder(run)) is not None:
        hashes[AUTOENCODER] = folder_sha256(autoencoder)
        with autoencoder.as_local() as folder:
            load_autoencoder(folder)  # a bad one is told now, not by a worker
    elif config.codec == "pixels":
        absent[AUTOENCODER] = "no autoencoder: the denoiser works on pixels"
    else:
        absent[AUTOENCODER] = "no trained autoencoder: run `mrigen train-vae` first"
    classifier = None
    try:
        classifier = plan_classifier(run / "data", config)
        hashes[MRI] = classifier.key
    except InputError:
        absent[MRI] = NO_CLASSIFIER
    weights = {name: Location.parse(file) for name, file in config.evaluation.weights if file}
    for name, file in weights.items():
        load_pretrained(name, file)  # a bad file is told now, not by a worker
        hashes[name] = file.sha256()
    return Networks(run / ".cache" / "classifier", autoencoder, classifier, weights, hashes, absent)


def find_autoencoder(run: Location) -> Location | None:
    """The trained autoencoder of a run, of its finished model if there is one; None if there is none."""
    candidates = [run / "vae"]
    if (run / "model" / SUMS).is_file():
        candidates.insert(0, run / "model" / "vae")
    return next((folder for folder in candidates if (folder / WEIGHTS).is_file()), None)


def folder_sha256(folder: Location) -> str:
    """One hash over names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in folder.files():
        digest.update(f"{file.path.removeprefix(folder.path)} {file.sha256()}\n".encode())
    return digest.hexdigest()
