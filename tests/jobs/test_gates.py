"""`mrigen generate --gates`: samples that show something else, or a training image, are drawn anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mrigen.condition_classifier.classifier import Trained
from mrigen.condition_classifier.label_gate import MIN_REAL, LabelGate, label_limits
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.images.labelled import LabelledImages
from mrigen.labels import Cell, Pathology
from mrigen.pipeline import Pipeline
from mrigen.report.notices import gate_notice
from mrigen.samples import Sample, SampleRequest
from mrigen.storage import Location
from tests.command import hashes, mrigen
from tests.fake_run import made_up_image, write_data

CELLS = [Cell(pathology, Cell.parse("HC:T1").modality) for pathology in Pathology]
HEALTHY, ILL = CELLS[:2]


class ByBrightness:
    """A classifier that takes bright images for Glioblastoma, the brighter the surer, and all for T1w."""

    temperatures = torch.ones(2)

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        level, zero = images.mean((1, 2, 3)), torch.zeros(len(images))
        return torch.stack([zero, level, zero - 99, zero - 99], 1), torch.stack([zero, *[zero - 99] * 4], 1)


def test_labels_are_held_to_what_real_images_reach() -> None:
    trained = Trained(ByBrightness(), {HEALTHY: 1, ILL: 1})  # type: ignore[arg-type]
    levels = np.linspace(-0.5, 0.5, 2 * MIN_REAL + 1).astype(np.float16)
    images = np.tile(levels[:, None, None], (1, 8, 8))
    real = LabelledImages(images, (HEALTHY,) * len(levels), ("",) * len(levels))
    limits = label_limits(trained, real, [HEALTHY])
    gate = LabelGate(trained, limits)

    def asked(cell: Cell, level: float) -> Sample:
        image = np.full((8, 8), level, np.float32)
        return Sample(SampleRequest(cell, 0, SamplerConfig()), image, 0.0, True, True, "", np.eye(4))

    # Of 41 images the two brightest are not taken for healthy, and what is no brighter than the third passes.
    assert gate([asked(HEALTHY, level) for level in levels]) == [None] * 39 + ["other labels"] * 2
    with pytest.raises(InputError, match=r"Glioblastoma:T1w has 0 validation images and 1 to train on: 20 and 1"):
        label_limits(trained, real, [HEALTHY, ILL])


def is_copy(seed: int) -> bool:
    return seed % 3 == 0


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models draw new people, but by every third seed a training image, mirrored."""
    drawn = Pipeline.sample

    def sample(pipeline: Pipeline, requests: Sequence[SampleRequest]) -> list[Sample]:
        samples = drawn(pipeline, requests)
        for one in samples:
            cell, seed = one.request.cell, one.request.seed
            name = f"train{seed % 2:03d}{cell.pathology}-{cell.modality}-1"
            one.image[:] = made_up_image("real", name)[::-1] if is_copy(seed) else made_up_image("new", seed)
        return samples

    monkeypatch.setattr(Pipeline, "sample", sample)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """The model of the small run, beside more images to hold it to."""
    write_data(tmp_path / "run", CELLS, {"train": 2, "test": 4, "val": 7})
    shutil.copytree(tiny_run / "model", tmp_path / "run" / "model")
    shutil.copy(tiny_run / "config.json", tmp_path / "run")
    return tmp_path / "run"


def test_copies_and_other_labels_are_drawn_anew_and_the_bytes_are_the_same_again(
    no_ray: None,
    copying: None,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, model = tmp_path / "out", ["--model", run / "model"]
    command = ["generate", *model, "--out", out, "--cells", "HC:T1=14,MS:T1=6", "--shard-size", 8, "--redraws", 9]
    command += ["--num-steps", 1]
    assert mrigen(*command, "--gates", "labels,copies", "--dry-run") == 0
    assert not out.exists()
    assert not (run / ".cache").exists()
    assert mrigen(*command, "--gates", "labels,copies") == 0
    assert "near a training image" in capsys.readouterr().out
    whole = hashes(out, "index.html")
    kept = pq.read_table(out / "manifest", columns=["id", "seed"]).to_pylist()
    assert len(kept) == 20
    assert not any(is_copy(row["seed"]) for row in kept)
    rejected = pq.read_table(out / "rejected").to_pylist()
    assert {row["reason"] for row in rejected if is_copy(row["seed"])} == {"near a training image"}
    assert len({row["seed"] for row in kept + rejected}) == 20 + len(rejected)
    card = (out / "README.md").read_text()
    assert "as likely to show its labels" in card
    assert "no sample is more like a training image than held-out images are" in card

    (out / "_SUCCESS.json").unlink()
    (out / "manifest/shard-000001.parquet").unlink()
    assert mrigen(*command, "--gates", "copies,labels") == 0
    assert hashes(out, "index.html") == whole
    next(out.glob("sub-*/anat/*.nii.gz")).unlink()
    assert mrigen("verify", out, "--repair", *model) == 0
    assert hashes(out, "index.html") == whole
    assert mrigen("audit", run, "--samples", out) in (0, 1)
    assert json.loads((run / "audit/audit.json").read_text())["overall"]["flagged"]["count"] == 0
    assert "chosen by the classifier" in gate_notice(Location.parse(out))[0]

    monkeypatch.setattr(f"{__name__}.is_copy", lambda seed: True)
    again = ["generate", *model, "--out", tmp_path / "none", "--cells", "HC:T1=2", "--redraws", 1]
    assert mrigen(*again, "--gates", "copies") == 2
    told = "all drawings of shard 0 were rejected: 4 near a training image; train the model longer, or allow more"
    assert told in capsys.readouterr().err

    assert mrigen(*command) == 2
    assert "holds a data set of another plan (gates was {'labels': " in capsys.readouterr().err
    write_data(run, CELLS, {"train": 2, "test": 5, "val": 7})
    (out / "_SUCCESS.json").unlink()
    assert mrigen("verify", out, "--repair", *model) == 2
    assert "are not those that the gates of this data set are by" in capsys.readouterr().err


def test_gates_that_cannot_judge_are_refused(
    no_ray: None, tiny_run: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> str:
        assert mrigen("generate", "--out", tmp_path / "no", "--cells", "HC:T1=1", *arguments) == 2
        return capsys.readouterr().err

    model = ["--model", tiny_run / "model"]
    assert "--gates 'beauty': known are labels, copies" in refused(*model, "--gates", "beauty")
    assert "--redraws 0 takes all as they are drawn" in refused(*model, "--gates", "copies", "--redraws", 0)
    assert "the embedded model comes without the images" in refused("--gates", "copies")
    shutil.copytree(tiny_run / "model", tmp_path / "alone")
    assert f"{tmp_path} has no data/: the model has to lie" in refused(
        "--model", tmp_path / "alone", "--gates", "labels"
    )
    shutil.copytree(tiny_run / "data", tmp_path / "data")
    few = "Healthy:T1w has 6 held-out images of 2 subjects: 10 of 2 are needed; ask for other --cells"
    assert few in refused("--model", tmp_path / "alone", "--gates", "copies")
    assert few in refused("--model", tmp_path / "alone", "--gates", "copies", "--dry-run")
    few = "Healthy:T1w has 3 validation images and 6 to train on: 20 and 1 are needed; ask for other --cells"
    assert few in refused("--model", tmp_path / "alone", "--gates", "labels")
    assert not (tmp_path / ".cache").exists()
    shutil.rmtree(run / "data")
    write_data(run, CELLS[1:], {"train": 2, "test": 4})
    assert "was trained on 2 subjects that are not of the training split" in refused(
        "--model", run / "model", "--gates", "copies"
    )
