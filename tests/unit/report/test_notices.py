"""What is not known of the model that made the samples is told."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from mrigen.model_folder.files import subject_digest
from mrigen.report.notices import broken_notice, model_notices, notices
from mrigen.storage import Location

OTHER = (
    "The samples are of another model than this run's own: that it was not trained on the held-out subjects is taken "
    "for granted here, not known."
)


@pytest.fixture
def model(tmp_path: Path) -> Location:
    """As much of a model folder as tells whom it was trained on."""
    folder = Location.parse(tmp_path / "model")
    (folder / "SHA256SUMS").write_bytes(b"sums")
    (folder / "labels.json").write_json({"training_subjects": [subject_digest("one"), subject_digest("two")]})
    return folder


def told(model: Location, *names: str, held_out: Collection[str] = ("three", "four")) -> list[str]:
    return model_notices(model, {"model_sha256": names} if names else {}, held_out)


def test_a_phantom_and_missing_samples_are_told() -> None:
    assert notices({"source": ["hospital", "Traveling Human Phantom"]}) == []
    assert "The real images here are of a phantom cohort" in notices({"source": ["mrigen phantom cohort"]})[0]
    assert (
        "A part of the real images here (mrigen phantom) is of a phantom"
        in notices({"source": ["IXI", "mrigen phantom"]})[0]
    )
    assert "not complete" in notices({}, complete=False)[0]


def test_of_the_runs_own_model_on_this_split_nothing_need_be_said(model: Location) -> None:
    assert told(model, (model / "SHA256SUMS").sha256()) == []
    assert told(model) == []


def test_samples_of_another_model_are_told(model: Location, tmp_path: Path) -> None:
    assert told(model, (model / "SHA256SUMS").sha256(), "0" * 64) == [OTHER]
    assert told(Location.parse(tmp_path / "none"), "0" * 64) == [OTHER]
    assert told(Location.parse(tmp_path / "none")) == []


def test_held_out_subjects_that_the_model_was_trained_on_are_told(model: Location) -> None:
    [line] = told(model, (model / "SHA256SUMS").sha256(), held_out=("two", "three"))
    assert line == (
        "1 of 2 held-out subjects, such as two, have names of subjects that the model was trained on: if they are the "
        "same, the figures flatter it."
    )


@pytest.mark.parametrize("labels", [{}, [], None, {"training_subjects": []}, {"training_subjects": [1, "one"]}])
def test_a_model_that_does_not_tell_its_subjects_is_told(model: Location, labels: object) -> None:
    (model / "labels.json").write_json(labels)
    assert told(model) == [
        "The model does not tell whom it was trained on: that it was not trained on the held-out subjects is taken for "
        "granted here, not known."
    ]


def test_broken_samples_are_told() -> None:
    assert broken_notice(0, 10) == []
    assert broken_notice(3, 10)[0].startswith("3 of 10 samples hold values that are not finite")
