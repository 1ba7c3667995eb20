from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow, index_generated, index_real
from mrigen.labels import Cell
from mrigen.metrics.figure import Figure
from mrigen.report.usefulness.words import usefulness_verdict
from mrigen.storage import Location
from mrigen.studies.usefulness.images import (
    ClassifierTraining,
    StudyImages,
    TrainedOn,
    draw_subjects,
    plan_trainings,
    select_images,
    training_rows,
)
from mrigen.studies.usefulness.summary import ALL, Usefulness, summarise
from mrigen.studies.usefulness.training import answers_file, train_and_test
from tests.fake_run import SIZE, sample_row, tiny_config, write_data, write_samples

CELLS = [Cell.parse(f"{pathology}:{modality}") for pathology in ("HC", "GBM", "MS") for modality in ("T1", "FLAIR")]
CONFIG = tiny_config("studies.real_fractions=[0.1, 1.0]", "evaluation.num_bootstraps=400")


def rows(group: Group, cells: list[Cell], subjects: int, *, trained: bool = True) -> list[ImageRow]:
    """Two images of each subject in each cell; a subject has all modalities of its pathology."""
    found = []
    for cell in cells:
        for subject in range(subjects):
            owner = f"{group}{cell.pathology}{subject}"
            names = [f"{owner}{cell.modality}{k}" for k in range(2)]
            found += [ImageRow(group, 0, 0, name, owner, cell, 0.0, name, trained=trained) for name in names]
    return [replace(row, row=place) for place, row in enumerate(found)]


REAL = ImageIndex(rows=(*rows(Group.REFERENCE, CELLS, 20), *rows(Group.HELD_OUT, CELLS, 15)))
MADE = ImageIndex(rows=tuple(rows(Group.GENERATED, CELLS, 5)))
IMAGES = select_images(REAL, MADE, [])


def answered(images: StudyImages, accuracies: dict[TrainedOn, float]) -> dict[ClassifierTraining, dict[str, Any]]:
    """Answers of which a share is right, the others name the next pathology."""
    truth = np.array([row.cell.pathology.row for row in sorted(images.test, key=lambda row: row.row)])
    found = {}
    for training in plan_trainings(CONFIG):
        right = np.random.default_rng(training.seed).random(len(truth)) < accuracies[training.on]
        answers = np.where(right, truth, (truth + 1) % 3)
        found[training] = {
            "num_real_images": 4,
            "num_real_subjects": round(60 * training.fraction),
            "num_synthetic_images": 5,
            "answers": answers.tolist(),
        }
    return found


def study_of(accuracies: dict[TrainedOn, float]) -> Usefulness:
    return summarise(IMAGES, answered(IMAGES, accuracies), CONFIG)


def key(images: StudyImages, training: ClassifierTraining) -> str:
    return answers_file(Location.parse("x"), images, training, CONFIG).name


def told(gain: Figure) -> str:
    return f"{gain.value:+.3f}, {gain.low:+.3f} to {gain.high:+.3f}"


def test_a_gain_that_is_there_is_found() -> None:
    study = study_of({TrainedOn.REAL: 0.5, TrainedOn.BOTH: 0.9, TrainedOn.SYNTHETIC: 0.7})
    assert [str(arm.on) for arm in study.arms] == ["synthetic", "real", "both", "real", "both"]
    assert study.modalities == [ALL, "T1w", "FLAIR"]
    for arm in study.arms:
        expected = {TrainedOn.REAL: 0.5, TrainedOn.BOTH: 0.9, TrainedOn.SYNTHETIC: 0.7}[arm.on]
        for figure in arm.accuracy.values():
            assert figure.value == pytest.approx(expected, abs=0.1)
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low < figure.value < figure.high
    gain = study.arms[2].gain[ALL]
    assert gain.n == 15 * 2 * 6
    assert gain.low is not None
    assert 0 < gain.low < 0.4 < (gain.high or 0) + 0.1
    assert usefulness_verdict(study) == (
        f"Added to real images, synthetic ones help beside 6 real subjects ({told(gain)}) and 60 real subjects "
        f"({told(study.arms[4].gain[ALL])}), in balanced accuracy over all modalities."
    )


def test_equal_answers_make_no_difference_whatever_is_drawn() -> None:
    study = study_of(dict.fromkeys(TrainedOn, 0.6))
    gain = study.arms[2].gain[ALL]
    assert (gain.value, gain.low, gain.high) == (0.0, 0.0, 0.0)
    assert "make no difference that this study can tell" in usefulness_verdict(study)


def test_harm_is_told_before_help() -> None:
    study = study_of({TrainedOn.REAL: 0.5, TrainedOn.BOTH: 0.9, TrainedOn.SYNTHETIC: 0.7})
    harm = replace(study.arms[4], gain={ALL: Figure.of(-0.2, 180, (-0.3, -0.1))})
    words = usefulness_verdict(replace(study, arms=[*study.arms[:4], harm]))
    assert words.startswith("Added to real images, synthetic ones harm beside 60 real subjects (-0.200")
    assert "; they help beside 6 real subjects" in words


def test_a_modality_of_one_pathology_has_no_figure() -> None:
    cells = [cell for cell in CELLS if str(cell) not in ("Glioblastoma:FLAIR", "Sclerosis:FLAIR")]
    real = ImageIndex(rows=tuple(row for row in REAL.rows if row.cell in cells))
    images = select_images(real, MADE, [])
    study = summarise(images, answered(images, dict.fromkeys(TrainedOn, 0.6)), CONFIG)
    reason = "one pathology alone in this modality: nothing to tell apart"
    assert study.arms[0].accuracy["FLAIR"].reason == reason
    assert study.arms[0].accuracy["T1w"].value is not None
    assert (study.chance("T1w"), study.chance("FLAIR")) == (pytest.approx(1 / 3), 1.0)


def test_fewer_subjects_are_part_of_more_and_none_is_left_without() -> None:
    train = [row for row in REAL.rows if row.group == Group.REFERENCE]
    few, some, every = (draw_subjects(train, fraction, 1) for fraction in (0.01, 0.25, 1.0))
    assert few < some < every
    assert [len(few), len(some), len(every)] == [3, 15, 60]
    assert {name[len("reference") :].rstrip("0123456789") for name in few} == {"Healthy", "Glioblastoma", "Sclerosis"}
    assert draw_subjects(train, 0.25, 2) != some


def test_a_training_sees_what_its_name_says() -> None:
    sides = {kind: training_rows(IMAGES, ClassifierTraining(kind, 0.1, 0)) for kind in TrainedOn}
    assert [len(part) for part in sides[TrainedOn.REAL]] == [3 * 2 * 2 * 2, 0]
    assert [len(part) for part in sides[TrainedOn.SYNTHETIC]] == [0, 60]
    assert sides[TrainedOn.BOTH] == (sides[TrainedOn.REAL][0], sides[TrainedOn.SYNTHETIC][1])
    assert {row.group for row in sides[TrainedOn.REAL][0]} == {Group.REFERENCE}


def test_what_was_trained_on_real_images_alone_serves_other_samples_too() -> None:
    other = select_images(REAL, ImageIndex(rows=tuple(rows(Group.GENERATED, CELLS, 4))), [])
    real, both = ClassifierTraining(TrainedOn.REAL, 0.1, 0), ClassifierTraining(TrainedOn.BOTH, 0.1, 0)
    assert key(IMAGES, real) == key(other, real)
    assert key(IMAGES, both) != key(other, both)
    keys = {key(IMAGES, training) for training in plan_trainings(CONFIG)}
    assert len(keys) == len(plan_trainings(CONFIG)) == 15


def test_cells_that_the_model_never_saw_are_left_out() -> None:
    assert CELLS[0] not in select_images(REAL, MADE, [CELLS[0]]).cells
    marked = ImageIndex(rows=tuple(replace(row, trained=row.cell != CELLS[1]) for row in MADE.rows))
    assert set(select_images(REAL, marked, []).cells) == set(CELLS) - {CELLS[1]}


def test_one_pathology_is_nothing_to_classify() -> None:
    made = ImageIndex(rows=tuple(row for row in MADE.rows if row.cell in CELLS[:2]))
    with pytest.raises(InputError, match=r"needs two pathologies .* here there is only Healthy:FLAIR, Healthy:T1w"):
        select_images(REAL, made, [])


def test_images_that_are_not_finite_are_neither_trained_on_nor_counted(tmp_path: Path) -> None:
    def images(num_faulty: int) -> StudyImages:
        run = tmp_path / str(num_faulty)
        faulty = np.full((SIZE, SIZE), np.nan, np.float32)
        images = [faulty if number < num_faulty else None for number in range(3)]
        made = [sample_row(cell, number, image=image) for cell in CELLS for number, image in enumerate(images)]
        write_data(run, CELLS, {"train": 3, "test": 3})
        write_samples(run / "samples", made)
        return select_images(
            index_real(Location.parse(run / "data"), "test"), index_generated(Location.parse(run / "samples")), []
        )

    training, config = ClassifierTraining(TrainedOn.BOTH, 1.0, 0), tiny_config("studies.usefulness_steps=2")
    part = train_and_test(images(2), training, config)
    assert part["num_synthetic_images"] == len(CELLS)
    assert part["num_real_images"] == 3 * 3 * len(CELLS)
    assert part["num_real_subjects"] == 3 * 3
    for kind in (TrainedOn.BOTH, TrainedOn.SYNTHETIC):
        with pytest.raises(InputError, match=r"^none of 18 synthetic images is finite: there is nothing to train on$"):
            train_and_test(images(3), ClassifierTraining(kind, 1.0, 0), config)
    part = train_and_test(images(3), ClassifierTraining(TrainedOn.REAL, 1.0, 0), config)
    assert (part["num_real_images"], part["num_synthetic_images"]) == (3 * 3 * len(CELLS), 0)
