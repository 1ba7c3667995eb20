from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mrigen.condition_classifier import store as classifier_store
from mrigen.condition_classifier.store import find_or_train, plan_classifier
from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.storage import Location
from tests.fake_run import tiny_config, write_data

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Sclerosis:PD", "Dementia:T1ce")]
CONFIG = tiny_config("studies.classifier_steps=3", "held_out_cells=['Sclerosis:PD']")


@pytest.fixture
def data(tmp_path: Path) -> Location:
    write_data(tmp_path / "run", CELLS, {"train": 4, "val": 2, "test": 2})
    return Location.parse(tmp_path / "run" / "data")


def test_it_is_trained_once_and_found_again(data: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Location.parse(tmp_path / "cache")
    plan = plan_classifier(data, CONFIG)
    trained = find_or_train(plan, CONFIG, folder)
    assert trained.counts == dict.fromkeys(sorted(CELLS), 12)  # those of cells held out from the model too
    assert len(trained.checks) == 3
    weights = folder / f"{plan.key}.safetensors"
    before = weights.read_bytes()

    with monkeypatch.context() as patched:
        patched.setattr(classifier_store, "train_classifier", None)
        found = find_or_train(plan, CONFIG, folder)
    images = torch.rand(3, 1, 32, 32) * 2 - 1
    for expected, given in zip(trained.classifier(images), found.classifier(images), strict=True):
        assert torch.equal(expected, given)
    assert (found.counts, found.checks) == (trained.counts, trained.checks)

    weights.write_bytes(before[:-4] + b"zzzz")
    find_or_train(plan, CONFIG, folder)
    assert weights.read_bytes() == before


def test_its_key_names_images_and_settings(data: Location, tmp_path: Path) -> None:
    key = plan_classifier(data, CONFIG).key
    assert plan_classifier(data, CONFIG).key == key
    assert plan_classifier(data, tiny_config("studies.classifier_steps=4")).key != key
    assert plan_classifier(data, tiny_config("studies.classifier_steps=3", "seed=1")).key != key
    assert plan_classifier(data, tiny_config("studies.classifier_steps=3", "data.plane=sagittal")).key != key
    write_data(tmp_path / "other", CELLS, {"train": 5, "val": 2})
    assert plan_classifier(Location.parse(tmp_path / "other" / "data"), CONFIG).key != key


def test_the_test_split_has_no_part_in_it(data: Location, tmp_path: Path) -> None:
    write_data(tmp_path / "less", CELLS, {"train": 4, "val": 2})
    assert plan_classifier(Location.parse(tmp_path / "less" / "data"), CONFIG).key == plan_classifier(data, CONFIG).key


def test_without_a_validation_split_it_stays_uncalibrated(tmp_path: Path) -> None:
    write_data(tmp_path / "run", CELLS, {"train": 4})
    plan = plan_classifier(Location.parse(tmp_path / "run" / "data"), CONFIG)
    trained = find_or_train(plan, CONFIG, Location.parse(tmp_path / "cache"))
    assert trained.checks == ()
    assert trained.classifier.temperatures.tolist() == [1.0, 1.0]


def test_without_training_images_there_is_none(tmp_path: Path) -> None:
    write_data(tmp_path / "run", CELLS, {"test": 2})
    with pytest.raises(InputError, match="holds no image of the training split"):
        plan_classifier(Location.parse(tmp_path / "run" / "data"), CONFIG)
