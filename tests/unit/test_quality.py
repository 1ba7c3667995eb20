"""What is rejected, and that training images are not."""

from __future__ import annotations

import numpy as np
import pytest

from mrigen.labels import Cell, Modality
from mrigen.quality import fault_of, image_facts, limits_of
from mrigen.storage import Location
from mrigen.training.rows import training_limits
from tests.fake_run import made_up_image, write_data

TRAINING = np.stack([made_up_image(number) for number in range(200)])
LIMITS = limits_of(image_facts(TRAINING))


def changed(change) -> np.ndarray:
    image = TRAINING[0].copy()
    change(image)
    return image


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (changed(lambda image: image.__setitem__((3, 4), np.nan)), "not finite"),
        (np.full((32, 32), -1.0), "empty"),
        (np.where(TRAINING[0] > -0.9, 1.0, -1.0), "saturated"),
        (np.full((32, 32), 0.1), "area"),
        (np.where(np.hypot(*np.mgrid[-16:16, -16:16]) < 3, 0.1, -1.0), "area"),
        (np.where(TRAINING[0] > -0.9, 0.95, -1.0), "intensity"),
        (np.where(TRAINING[0] > -0.9, -0.85, -1.0), "intensity"),
    ],
)
def test_an_image_that_can_be_no_scan_is_told_by_its_fault(image, fault):
    assert fault_of(image, LIMITS) == fault
    if fault in LIMITS:
        assert fault_of(image, None) is None  # a model folder that does not tell


def test_training_images_pass():
    assert [fault_of(image, LIMITS) for image in TRAINING] == [None] * 200


def test_facts_are_those_of_a_disc():
    disc = np.where(np.hypot(*np.mgrid[-50:50, -50:50]) < 30, 0.25, -1.0)[None]
    facts = image_facts(disc)
    assert facts["area"][0] == pytest.approx(np.pi * 30**2 / 100**2, rel=0.01)
    assert facts["intensity"][0] == 0.25


def test_a_model_folder_keeps_the_limits_of_its_training_images_by_modality(tmp_path):
    write_data(tmp_path, [Cell.parse("HC:T1"), Cell.parse("MS:T2"), Cell.parse("HC:PD")], {"train": 20, "test": 9})
    limits = training_limits(Location.parse(tmp_path / "data"), ["Healthy:PD"])
    names = [f"train{number:03d}Healthy-T1w-{k}" for number in range(20) for k in range(3)]
    images = np.stack([made_up_image("real", name) for name in names]).astype(np.float16)
    assert limits.keys() == {Modality.T1W, Modality.T2W}
    assert limits[Modality.T1W] == limits_of(image_facts(images))
