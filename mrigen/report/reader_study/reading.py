"""The page that one reader works in: images, questions and the program in one file."""

from __future__ import annotations

import base64
import importlib.resources
import json
from collections.abc import Sequence

from mrigen.labels import Modality, Pathology
from mrigen.report.rendering import render
from mrigen.studies.reader_study.answers import CANNOT_TELL
from mrigen.studies.reader_study.design import StudyKey
from mrigen.studies.reader_study.detection import MAX_CONFIDENCE
from mrigen.studies.reader_study.display import Levels

_ASKED = {
    "pathology": ("Which pathology does it show?", (*Pathology, CANNOT_TELL), "qwety"),
    "modality": ("Which modality is it?", (*Modality, CANNOT_TELL), "adfghj"),
}


def reading_page(
    key: StudyKey, reader: int, levels: Sequence[Levels], *, plane: str, spacing_mm: float, notices: Sequence[str]
) -> str:
    """The page of a reader, counted from 1; `levels` are those of the key's images. It holds nothing else of them, each
    takes the same number of bytes, and they stand in the order in which they are shown."""
    order = key.orders[reader - 1]
    height, width = levels[0].shape
    study = {
        "study": key.id,
        "reader": reader,
        "width": width,
        "height": height,
        "asked": key.asked,
        "images": [base64.b64encode(levels[number].tobytes()).decode("ascii") for number in order],
    }
    confidence = [(str(level), str(level)) for level in range(1, MAX_CONFIDENCE + 1)]
    questions = [
        ("answer", "This image is", [("real", "r"), ("synthetic", "s")]),
        ("confidence", "How sure are you? 1 a guess, 5 certain", confidence),
        *((name, legend, list(zip(choices, keys, strict=True))) for name, (legend, choices, keys) in _ASKED.items()),
    ]
    return render(
        "reader_study/reading.html",
        plane=plane,
        title=f"Reader study, reader {reader}",
        count=len(order),
        questions=[one for one in questions if one[0] not in _ASKED or one[0] in key.asked],
        spacing=f"{spacing_mm:g}",
        notices=notices,
        study=json.dumps(study),
        script=importlib.resources.files("mrigen.report.reader_study").joinpath("reading.js").read_text("utf-8"),
    )
