"""From the answers of all readers to the result of a study. Simulated readers occur in tests alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mrigen.labels import Cell, all_cells
from mrigen.metrics.figure import Figure, figures_json
from mrigen.metrics.resampling import Codes, Matrix, Weights, interval, owner_codes, owner_weights, seeded
from mrigen.studies.reader_study.agreement import cohen_kappa, fleiss_kappa
from mrigen.studies.reader_study.answers import Reading, rating
from mrigen.studies.reader_study.design import StudyKey
from mrigen.studies.reader_study.detection import Detection, ReaderFigures, roc_points, shares
from mrigen.studies.reader_study.power import CHANCE
from mrigen.studies.reader_study.readers import ReadersMean, over_readers

DRAWS = 2000
_SHARE = (0.0, 1.0)
_ANY = (-np.inf, np.inf)
_SAME_ANSWERS = "all answers are the same, so that chance alone would agree"

FIGURES: Mapping[str, tuple[Callable[[Detection], ReaderFigures], float | None, tuple[float, float]]] = {
    "accuracy": (Detection.accuracy, CHANCE, _SHARE),
    "sensitivity": (lambda answers: answers.share(synthetic=True), None, _SHARE),
    "specificity": (lambda answers: answers.share(synthetic=False), None, _SHARE),
    "d_prime": (Detection.sensitivity_index, 0.0, _ANY),
    "criterion": (Detection.criterion, None, _ANY),
    "roc_area": (Detection.roc_area, CHANCE, _SHARE),
}
"""Of each figure its function, the value that chance gives, if one is tested, and the ends of its range."""


@dataclass(frozen=True)
class Pace:
    """How long a reader, or all, looked at an image: quartiles in seconds, and the medians of each kind."""

    quartiles_s: tuple[float, float, float]
    real_s: float
    synthetic_s: float
    total_minutes: float


@dataclass(frozen=True)
class ReaderStudy:
    """The result. Figures of single readers hold for them; those of `mean` for readers and images like these."""

    id: str
    readers: tuple[int, ...]
    num_real: int
    num_synthetic: int
    num_subjects: int
    mean: Mapping[str, Figure]
    by_reader: Mapping[int, Mapping[str, Figure]]
    by_cell: Mapping[str, Figure]
    """Accuracy in each cell."""
    margin: float
    equivalence: Figure
    """The mean accuracy with the interval that TOST looks at, of 90 %, and the p-value of TOST."""
    agreement: Mapping[str, Figure]
    """Fleiss' kappa of all readers, and Cohen's of each pair."""
    repeats: Mapping[str, Mapping[str, Figure]]
    """Of each reader and of all, how often a repeat was answered alike, and kappa."""
    named: Mapping[str, Mapping[str, Figure]]
    """Of pathology and modality, where asked: shares named right of real and of synthetic images, and their
    difference."""
    pace: Mapping[str, Pace]
    roc: Mapping[int, Matrix]
    """The corners of each reader's ROC curve."""
    comments: tuple[tuple[int, str, str, str], ...]
    """Reader, id of the image, `real` or `synthetic` as it truly is, and what was written."""

    def as_json(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "study": self.id,
            "readers": list(self.readers),
            "num_real": self.num_real,
            "num_synthetic": self.num_synthetic,
            "num_subjects": self.num_subjects,
            "mean": figures_json(self.mean),
            "by_reader": {str(reader): figures_json(figures) for reader, figures in self.by_reader.items()},
            "accuracy_by_cell": figures_json(self.by_cell),
            "equivalence": {"margin": self.margin, "accuracy_90": self.equivalence.as_json()},
            "agreement": figures_json(self.agreement),
            "repeats": {name: figures_json(figures) for name, figures in self.repeats.items()},
            "named_right": {name: figures_json(figures) for name, figures in self.named.items()},
            "seconds": {name: vars(pace) for name, pace in self.pace.items()},
            "roc": {str(reader): corners.tolist() for reader, corners in self.roc.items()},
            "comments": [dict(zip(("reader", "image", "truth", "comment"), one, strict=True)) for one in self.comments],
        }


def summarise(key: StudyKey, readings: Sequence[Reading]) -> ReaderStudy:
    """The result of a study, from the answers of one reader or more. The first time that an image was shown counts;
    repeats tell how far readers agree with themselves."""
    synthetic = np.array([image.synthetic for image in key.images])
    owners = owner_codes([image.owner for image in key.images])
    ratings = np.stack([reading.ratings for reading in readings])
    answers, count = Detection(ratings, synthetic, owners), len(synthetic)
    accuracy = over_readers(*_both(answers.accuracy()))
    cells = np.array([image.cell for image in key.images])
    found = {name: function(answers) for name, (function, *_) in FIGURES.items()}
    return ReaderStudy(
        id=key.id,
        readers=tuple(reading.reader for reading in readings),
        num_real=int((~synthetic).sum()),
        num_synthetic=int(synthetic.sum()),
        num_subjects=len({image.owner for image in key.images if not image.synthetic}),
        mean={name: over_readers(*_both(one)).figure(count, *FIGURES[name][1:]) for name, one in found.items()},
        by_reader={
            reading.reader: {name: _of_one(one, place).figure(count, *FIGURES[name][1:]) for name, one in found.items()}
            for place, reading in enumerate(readings)
        },
        by_cell={
            str(cell): over_readers(*_both(_only(answers, here).accuracy())).figure(int(here.sum()), None, _SHARE)
            for cell in all_cells()
            if (here := cells == str(cell)).any()
        },
        margin=key.margin,
        equivalence=Figure.of(accuracy.value, count, accuracy.interval(0.9)).tested(
            accuracy.equivalence_p(CHANCE, key.margin)
        ),
        agreement=_agreement(ratings, readings, owners, synthetic),
        repeats=_repeats(readings),
        named={name: _named(name, key, readings, owners, synthetic) for name in key.asked},
        pace=_pace(readings, synthetic),
        roc={one.reader: roc_points(row, synthetic) for one, row in zip(readings, ratings, strict=True)},
        comments=tuple(
            (reading.reader, image.id, "synthetic" if image.synthetic else "real", answer.comment.strip())
            for reading in readings
            for image, answer in zip(key.images, reading.first, strict=True)
            if answer.comment.strip()
        ),
    )


def _both(found: ReaderFigures) -> tuple[Weights, Matrix]:
    return found.values, found.covariance


def _of_one(found: ReaderFigures, place: int) -> ReadersMean:
    return over_readers(found.values[[place]], found.covariance[place : place + 1, place : place + 1])


def _only(answers: Detection, here: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Detection:
    return Detection(answers.ratings[:, here], answers.synthetic[here], answers.owners[here])


def _kappa(kappa: Callable[[Matrix], Weights], owners: Codes, strata: Codes, *name: object) -> Figure:
    """With its interval over owners, drawn anew."""
    whole = float(kappa(np.ones((1, len(owners))))[0])
    if not np.isfinite(whole):
        return Figure.missing(_SAME_ANSWERS, len(owners))
    drawn = owner_weights(owners, strata, DRAWS, seeded("reader study", *name))
    return Figure.of(whole, len(owners), None if drawn is None else interval(kappa(drawn[:, owners])))


def _agreement(
    ratings: Matrix, readings: Sequence[Reading], owners: Codes, synthetic: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, Figure]:
    if len(ratings) < 2:
        return {}
    said, strata = (ratings > 0).astype(np.int64), synthetic.astype(np.int64)
    figures = {"all readers": _kappa(lambda weights: fleiss_kappa(said, weights), owners, strata, "fleiss")}
    for (i, one), (j, other) in combinations(enumerate(readings), 2):
        name = f"readers {one.reader} and {other.reader}"
        figures[name] = _kappa(lambda w, i=i, j=j: cohen_kappa(said[i], said[j], w), owners, strata, name)  # type: ignore[misc]
    return figures


def _repeats(readings: Sequence[Reading]) -> dict[str, dict[str, Figure]]:
    """Both answers of each reader to the repeats; over all readers images are drawn anew, with all their answers."""
    pairs = {
        reading.reader: [
            (number, rating(reading.first[number]) > 0, rating(answer) > 0) for number, answer in reading.again.items()
        ]
        for reading in readings
    }
    groups = {f"reader {reader}": found for reader, found in pairs.items()}
    if len(pairs) > 1:
        groups["all readers"] = [pair for found in pairs.values() for pair in found]
    figures = {}
    for name, found in groups.items():
        if not found:
            continue
        images, first, again = (np.array(column, np.int64) for column in zip(*found, strict=True))
        owners = owner_codes([str(image) for image in images])
        same = (first == again).astype(np.float64)[None]
        figures[name] = {
            "same": _of_one(shares(same, owners), 0).figure(len(images), None, _SHARE),
            "kappa": _kappa(
                lambda w, first=first, again=again: cohen_kappa(first, again, w),  # type: ignore[misc]
                owners,
                np.zeros(len(images), np.int64),
                name,
                "repeats",
            ),
        }
    return figures


def _named(
    name: str,
    key: StudyKey,
    readings: Sequence[Reading],
    owners: Codes,
    synthetic: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> dict[str, Figure]:
    truth = [getattr(Cell.parse(image.cell), name) for image in key.images]
    right = np.array(
        [[getattr(answer, name) == true for answer, true in zip(one.first, truth, strict=True)] for one in readings],
        np.float64,
    )
    found = {}
    for kind, here in (("real", ~synthetic), ("synthetic", synthetic)):
        found[kind] = shares(right[:, here], np.unique(owners[here], return_inverse=True)[1])
    apart = over_readers(
        found["synthetic"].values - found["real"].values, found["synthetic"].covariance + found["real"].covariance
    )
    figures = {
        kind: over_readers(*_both(one)).figure(int((synthetic == (kind == "synthetic")).sum()), None, _SHARE)
        for kind, one in found.items()
    }
    return {**figures, "difference": apart.figure(len(synthetic), 0.0)}


def _pace(readings: Sequence[Reading], synthetic: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Pace]:
    seconds = np.array([[answer.seconds for answer in reading.first] for reading in readings])
    found = {}
    rows = [(f"reader {one.reader}", seconds[[place]], [one]) for place, one in enumerate(readings)]
    for name, some, of in [*rows, ("all readers", seconds, readings)] if len(rows) > 1 else rows:
        low, middle, high = (round(float(value), 2) for value in np.quantile(some, (0.25, 0.5, 0.75)))
        again = sum(answer.seconds for reading in of for answer in reading.again.values())
        found[name] = Pace(
            (low, middle, high),
            round(float(np.median(some[:, ~synthetic])), 2),
            round(float(np.median(some[:, synthetic])), 2),
            round((float(some.sum()) + again) / 60, 1),
        )
    return found
