"""The condition classifier: a small network of this project that names pathology and modality.

Trained on a run's real training images, those of cells held out from the generative model among them where there are
any: it should know the truth of them, too. It is calibrated on the validation split by one temperature a head (Guo et
al. 2017, section 4.2). One thread gives equal bits for equal data and seed.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor, nn

from mrigen.images.labelled import LabelledImages, cell_codes, modality_codes, pathology_codes
from mrigen.labels import Cell, Modality, Pathology
from mrigen.metrics.resampling import Matrix

CHANNELS = (16, 16, 32, 32, 64, 128)
"""Of the convolutions; every second one, from the first on, halves the image."""
BATCH_SIZE = 64
LEARNING_RATE = 6e-3
WEIGHT_DECAY = 0.02
WARMUP = 0.1
"""Share of the steps over which the learning rate rises."""
NUM_CHECKS = 10
"""How often in a training the validation loss is taken; the weights of the lowest are kept."""
MAX_SHIFT = 1 / 32
"""Largest shift of a training image, as a share of its side."""
MAX_JITTER = 0.05
"""Largest change of brightness, and of the logarithm of gamma."""


class Classifier(nn.Module):
    """Images (B, 1, *spatial) in [-1, 1], sides multiples of 8 -> logits of pathology (B, 4) and of modality (B, 5).

    Six convolutions, the mean and the maximum of each of their channels over the image, and a linear layer a head.
    """

    num_features = 2 * CHANNELS[-1]
    temperatures: Tensor

    def __init__(self, generator: torch.Generator) -> None:
        """Freshly initialised by `generator` (He et al. 2015)."""
        super().__init__()
        inputs = (1, *CHANNELS[:-1])
        self.body = nn.Sequential(
            *(_convolution(*both, 2 - i % 2) for i, both in enumerate(zip(inputs, CHANNELS, strict=True)))
        )
        self.pathology = nn.Linear(self.num_features, len(Pathology))
        self.modality = nn.Linear(self.num_features, len(Modality))
        self.register_buffer("temperatures", torch.ones(2))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
        for head in (self.pathology, self.modality):
            nn.init.zeros_(head.bias)

    def features(self, images: Tensor) -> Tensor:
        """Images -> what the heads see, (B, num_features)."""
        maps = self.body(images.float())
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError unless `images` is (B, 1, S, S) with S a multiple of 8."""
        if images.ndim != 4 or images.shape[1] != 1 or any(side % 8 for side in images.shape[2:]):
            raise ValueError(f"images must be (B, 1, S, S) with S a multiple of 8, got {tuple(images.shape)}")
        features = self.features(images)
        return self.pathology(features) / self.temperatures[0], self.modality(features) / self.temperatures[1]


def _convolution(num_in: int, num_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False), nn.BatchNorm2d(num_out), nn.ReLU(inplace=True)
    )


@dataclass(frozen=True)
class Check:
    """The validation losses of both heads after `step` steps, in nats, every cell weighing the same."""

    step: int
    pathology: float
    modality: float


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier ready to be asked, the training images it saw of every cell, and how its training went."""

    classifier: Classifier
    counts: dict[Cell, int]
    checks: tuple[Check, ...] = field(default=())
    """Empty where there were no validation images: then the last weights stay, uncalibrated."""


def train_classifier(
    sources: Sequence[LabelledImages],
    val: LabelledImages | None,
    *,
    num_steps: int,
    generator: torch.Generator,
    flips: bool,
    device: str = "cpu",
) -> Trained:
    """Train on all `sources`: of each batch every source gives an equal share, drawn so that its cells are equally
    likely.

    `flips` says that the images' first axis is left-right, so that they may be flipped along it. With `val`, the
    weights of the lowest validation loss are kept and then calibrated. Raises ValueError for a source without images.
    """
    if not sources or not all(len(source) for source in sources):
        raise ValueError("a classifier needs training images")
    classifier = Classifier(generator).to(device).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, num_steps))
    checks: list[Check] = []
    best: dict[str, Tensor] = {}
    balanced = [_CellBalanced(source) for source in sources]
    shares = [BATCH_SIZE // len(sources) + (place < BATCH_SIZE % len(sources)) for place in range(len(sources))]
    for step in range(1, num_steps + 1):
        batches = [draw(share, generator) for draw, share in zip(balanced, shares, strict=True)]
        images, pathology, modality = (torch.cat(parts) for parts in zip(*batches, strict=True))
        images = augmented(images, generator, flips=flips).to(device)
        logits = classifier(images)
        loss = functional.cross_entropy(logits[0], pathology.to(device)) + functional.cross_entropy(
            logits[1], modality.to(device)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if val is not None and len(val) and step * NUM_CHECKS // num_steps > (step - 1) * NUM_CHECKS // num_steps:
            checks.append(_check(classifier.eval(), val, step))
            classifier.train()
            if checks[-1] == min(checks, key=lambda check: check.pathology + check.modality):
                best = copy.deepcopy(classifier.state_dict())
    if best and val is not None:
        classifier.load_state_dict(best)
        calibrate(classifier.eval(), val)
    counts = Counter(cell for source in sources for cell in source.cells)
    return Trained(classifier.eval().requires_grad_(False), dict(sorted(counts.items())), tuple(checks))


def calibrate(classifier: Classifier, val: LabelledImages) -> None:
    """Set both temperatures by the validation images."""
    classifier.temperatures.fill_(1.0)
    logits = classify(classifier, val.pixels)
    weights = cell_weights(val)
    for head, labels in enumerate(_labels(val)):
        classifier.temperatures[head] = fit_temperature(logits[head], labels.numpy(), weights)


def classify(classifier: Classifier, pixels: np.ndarray[Any, Any]) -> tuple[Matrix, Matrix]:
    """Images (N, *spatial) -> calibrated logits of pathology (N, 4) and of modality (N, 5), batch by batch."""
    device = classifier.temperatures.device
    found: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH_SIZE):
            batch = torch.from_numpy(pixels[start : start + BATCH_SIZE].astype(np.float32))[:, None]
            found.append(classifier(batch.to(device)))
    if not found:
        return np.empty((0, len(Pathology))), np.empty((0, len(Modality)))
    pathology, modality = (torch.cat(parts).double().cpu().numpy() for parts in zip(*found, strict=True))
    return pathology, modality


def fit_temperature(logits: Matrix, labels: np.ndarray[Any, Any], weights: Matrix) -> float:
    """The temperature, from 1/20 to 20, whose division of the logits gives the least `nll` (Guo et al. 2017)."""
    found = minimize_scalar(
        lambda log: nll(logits / math.exp(log), labels, weights),
        bounds=(-math.log(20), math.log(20)),
        method="bounded",
    )
    return math.exp(float(found.x))


def nll(logits: Matrix, labels: np.ndarray[Any, Any], weights: Matrix) -> float:
    """The weighted mean negative log likelihood of the labels, in nats."""
    losses = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return float((losses * weights).sum() / weights.sum())


def cell_weights(images: LabelledImages) -> Matrix:
    """A weight for each image that gives every cell the same."""
    codes = cell_codes(images.cells)
    return 1.0 / np.bincount(codes)[codes]


def augmented(images: Tensor, generator: torch.Generator, *, flips: bool) -> Tensor:
    """Training images (B, 1, S, S), each flipped along its first axis, shifted a little, and jittered in intensity."""
    count, _, height, width = images.shape
    uniform = torch.rand((count, 5), generator=generator)
    if flips:
        images = torch.where((uniform[:, 0] < 0.5)[:, None, None, None], images.flip(2), images)
    reach = max(1, round(MAX_SHIFT * height))
    shift = (uniform[:, 1:3] * (2 * reach + 1)).long()
    padded = functional.pad(images[:, 0], (reach,) * 4, value=-1.0)
    rows = (shift[:, :1] + torch.arange(height))[:, :, None]
    columns = (shift[:, 1:] + torch.arange(width))[:, None, :]
    moved = padded[torch.arange(count)[:, None, None], rows, columns]
    jitter = (2.0 * uniform[:, 3:] - 1.0) * MAX_JITTER
    levels = ((moved + 1.0) / 2.0).clamp(0.0, 1.0) ** torch.exp(jitter[:, 0])[:, None, None]
    levels = (levels * (1.0 + jitter[:, 1])[:, None, None]).clamp(0.0, 1.0)
    return (levels * 2.0 - 1.0)[:, None]


class _CellBalanced:
    """Draws training images of one source, its cells equally likely."""

    def __init__(self, source: LabelledImages) -> None:
        self._source = source
        codes = cell_codes(source.cells)
        self._rows = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        self._labels = _labels(source)

    def __call__(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """`count` images (count, 1, *spatial) and their labels."""
        uniform = torch.rand((count, 2), generator=generator, dtype=torch.float64).numpy()
        cells = [self._rows[int(cell * len(self._rows))] for cell in uniform[:, 0]]
        rows = np.array([rows[int(image * len(rows))] for rows, image in zip(cells, uniform[:, 1], strict=True)])
        pixels = torch.from_numpy(self._source.pixels[rows].astype(np.float32))[:, None]
        return pixels, self._labels[0][rows], self._labels[1][rows]


def _labels(images: LabelledImages) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pathology_codes(images.cells)), torch.from_numpy(modality_codes(images.cells))


def _rate(step: int, num_steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    warmup = max(1, round(WARMUP * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def _check(classifier: Classifier, val: LabelledImages, step: int) -> Check:
    logits, weights = classify(classifier, val.pixels), cell_weights(val)
    losses = [nll(one, labels.numpy(), weights) for one, labels in zip(logits, _labels(val), strict=True)]
    return Check(step, *losses)
