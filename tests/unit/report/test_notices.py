"""What is not known of the model that made the samples is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.config import DataConfig
from mrigen.report.notices import broken_notice, model_notices, notices
from mrigen.storage import Location
from tests.fake_run import tiny_config

OTHER = (
    "The samples are of another model than this run's own: that it was not trained on the held-out subjects is taken "
    "for granted here, not known."
)


@pytest.fixture
def model(tmp_path: Path) -> Location:
    """As much of a model folder as tells how its data was split."""
    folder = Location.parse(tmp_path / "model")
    (folder / "SHA256SUMS").write_bytes(b"sums")
    (folder / "mrigen_config.json").write_json(tiny_config().model_dump(mode="json"))
    return folder


def told(model: Location, *names: str, **changes: float) -> list[str]:
    data = DataConfig.model_validate(tiny_config().data.model_dump() | changes)
    return model_notices(model, {"model_sha256": names} if names else {}, data)


def test_a_phantom_and_missing_samples_are_told() -> None:
    assert notices({"source": ["hospital"]}) == []
    assert "phantom" in notices({"source": ["mrigen-phantom 0.1"]})[0]
    assert "not complete" in notices({}, complete=False)[0]


def test_of_the_runs_own_model_on_this_split_nothing_need_be_said(model: Location) -> None:
    assert told(model, (model / "SHA256SUMS").sha256()) == []
    assert told(model) == []


def test_samples_of_another_model_are_told(model: Location, tmp_path: Path) -> None:
    assert told(model, (model / "SHA256SUMS").sha256(), "0" * 64) == [OTHER]
    assert told(Location.parse(tmp_path / "none"), "0" * 64) == [OTHER]
    assert told(Location.parse(tmp_path / "none")) == []


def test_a_model_of_another_split_is_told(model: Location) -> None:
    own = tiny_config().data
    [line] = told(model, (model / "SHA256SUMS").sha256(), test_fraction=0.45)
    assert line == (
        f"The model was trained on data split otherwise (val_fraction, test_fraction: {own.val_fraction:g}, "
        f"{own.test_fraction:g}; here {own.val_fraction:g}, 0.45): it may have been trained on subjects that are held "
        "out here."
    )


def test_broken_samples_are_told() -> None:
    assert broken_notice(0, 10) == []
    assert broken_notice(3, 10)[0].startswith("3 of 10 samples hold values that are not finite")
