"""What readers send back, and how it is held against the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from mrigen.config import Section, parse_section
from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.metrics.resampling import Matrix
from mrigen.storage import Location
from mrigen.studies.reader_study.design import StudyKey
from mrigen.studies.reader_study.detection import MAX_CONFIDENCE

CANNOT_TELL = "cannot tell"


class Answer(Section):
    """What a reader said of one image."""

    position: int = Field(ge=0)
    """Its place in the reader's order."""
    answer: Literal["real", "synthetic"]
    confidence: int = Field(ge=1, le=MAX_CONFIDENCE)
    seconds: float = Field(ge=0)
    """How long it was looked at; pauses do not count."""
    pathology: Pathology | Literal["cannot tell"] | None = None
    modality: Modality | Literal["cannot tell"] | None = None
    comment: str = Field("", max_length=10_000)


class ReaderAnswers(Section):
    """The file that the page exports."""

    study: str
    reader: int = Field(ge=1)
    started: str = Field(max_length=40)
    """When, as the reader's clock had it."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """All answers of one reader, by image: those of the first time that each was shown, and of the repeats."""

    reader: int
    first: Sequence[Answer]
    """In the order of the key's images."""
    again: dict[int, Answer]
    """By the number of the image."""

    @property
    def ratings(self) -> Matrix:
        """(images,), as `Detection` has them."""
        return np.array([rating(answer) for answer in self.first], np.float64)


def rating(answer: Answer) -> int:
    """From -5, surely real, to 5, surely synthetic."""
    return answer.confidence if answer.answer == "synthetic" else -answer.confidence


def read_answers(file: Location, key: StudyKey) -> Reading:
    """A reader's file, whole. Raises InputError, which names the file, for one of another study, or not finished."""
    if not file.is_file():
        raise InputError(f"no file {file}")
    tree: Any = file.read_json()
    if not isinstance(tree, dict):
        raise InputError(f"{file} is no file of answers")
    found = parse_section(ReaderAnswers, tree, str(file))
    if found.study != key.id:
        raise InputError(f"{file} is of the study {found.study[:80]!r}, this one is {key.id!r}")
    if found.reader > len(key.orders):
        raise InputError(f"{file} is of reader {found.reader}, this study has {len(key.orders)}")
    order = key.orders[found.reader - 1]
    by_position = {answer.position: answer for answer in found.answers}
    if len(by_position) != len(found.answers) or by_position.keys() - set(range(len(order))):
        raise InputError(f"{file} answers an image twice, or one that there is not")
    if len(by_position) < len(order):
        raise InputError(
            f"{file} answers {len(by_position)} of {len(order)} images: let reader {found.reader} finish, or leave the "
            "file out"
        )
    for name in key.asked:
        if lacking := [answer.position for answer in found.answers if getattr(answer, name) is None]:
            raise InputError(f"{file}: answer {lacking[0]} names no {name}")
    first: dict[int, Answer] = {}
    again: dict[int, Answer] = {}
    for position, number in enumerate(order):
        (again if number in first else first)[number] = by_position[position]
    return Reading(found.reader, [first[number] for number in range(len(key.images))], again)


def read_all(files: Sequence[Location], key: StudyKey) -> list[Reading]:
    """One file a reader, by their numbers. Raises InputError as `read_answers`, and for two files of one reader."""
    readings = sorted((read_answers(file, key) for file in files), key=lambda reading: reading.reader)
    numbers = [reading.reader for reading in readings]
    if twice := next((number for number in numbers if numbers.count(number) > 1), None):
        raise InputError(f"two files are of reader {twice}: give the one that counts")
    return readings
