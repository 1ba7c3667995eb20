"""`mrigen ablate` and `mrigen usefulness` on a tiny run: the same bytes for any workers, and resumed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from mrigen.config import load_config
from mrigen.each import one_by_one
from mrigen.labels import Cell
from mrigen.stages.ablate import ablate_run
from mrigen.stages.usefulness import usefulness_run
from mrigen.storage import Location
from tests.command import hashes, mrigen
from tests.fake_run import sample_row, tiny_config, write_data, write_samples

UNSEEN = Cell.parse("Sclerosis:PD")
CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Healthy:FLAIR", "Dementia:T1w", "Dementia:FLAIR")]


@pytest.fixture
def trained(tiny_run: Path, tmp_path: Path) -> Path:
    """A run with data of a few cells and a model of all but one."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run / "model", run / "model")
    write_data(run, [*CELLS, UNSEEN], {"train": 4, "val": 1, "test": 3})
    shutil.copy(tiny_run / "config.json", run)
    return run


@pytest.fixture
def sampled(tmp_path: Path) -> Path:
    """A run with data and samples."""
    run = tmp_path / "run"
    Location.parse(run / "config.json").write_json(tiny_config().model_dump(mode="json"))
    write_data(run, CELLS, {"train": 4, "test": 4})
    write_samples(run / "samples", [sample_row(cell, number) for cell in CELLS for number in range(5)])
    return run


def loads_nothing(page: Path) -> bool:
    return not re.search(r"<script|<link|@import|url\(|https?://", page.read_text())


@pytest.mark.ray
@pytest.mark.slow
def test_an_ablation_depends_neither_on_workers_nor_on_an_interruption(
    trained: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mrigen("ablate", trained, "--num-workers", 2) == 0
    told = capsys.readouterr().out
    assert "Without the pathology, KID by efficientnet-lite0 goes from" in told
    assert f"page: {trained / 'ablation' / 'index.html'}" in told

    # What a killed run leaves: some parts, one of them damaged; what is missing is made anew, here without Ray.
    first, cache = hashes(trained / "ablation"), trained / ".cache" / "ablation"
    before = hashes(cache)
    parts = sorted(cache.iterdir())
    for part in parts[::3]:
        part.unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:-50])
    kept = parts[2].stat().st_mtime_ns
    shutil.rmtree(trained / ".cache" / "classifier")
    config = load_config("quick", (trained / "config.json").read_text(), [], source="config.json")
    ablate_run(Location.parse(trained), config, one_by_one)
    assert hashes(trained / "ablation")["ablation.json"] == first["ablation.json"]
    assert hashes(cache) == before
    assert parts[2].stat().st_mtime_ns == kept

    tree = json.loads((trained / "ablation" / "ablation.json").read_text())
    assert tree["cells"] == [str(cell) for cell in CELLS]
    assert {setting["without"] for setting in tree["settings"]} == {"nothing", "pathology", "modality"}
    own, unguided = tree["settings"][0], next(s for s in tree["settings"] if s["guidance_scale"] == 1.0)
    assert own["figures"]["efficientnet-lite0/kid"]["n"] == 2 * 4
    assert own["num_evaluations"] == 2 * unguided["num_evaluations"] == 6
    assert own["figures"]["mri/kid"]["value"] is not None
    assert own["figures"]["modality"]["n"] == 2 * 4
    assert tree["floor"]["modality"]["n"] == 3 * 3 * 4
    assert loads_nothing(trained / "ablation" / "index.html")


@pytest.mark.ray
@pytest.mark.slow
def test_usefulness_depends_neither_on_workers_nor_on_an_interruption(
    sampled: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mrigen("usefulness", sampled, "--num-workers", 2) == 0
    assert "Added to real images, synthetic ones" in capsys.readouterr().out
    first, cache = hashes(sampled / "usefulness"), sampled / ".cache" / "usefulness"
    before = hashes(cache)
    parts = sorted(cache.iterdir())
    assert len(parts) == 15
    for part in parts[::4]:
        part.unlink()
    parts[1].write_text('{"answers": [')
    kept = parts[2].stat().st_mtime_ns
    usefulness_run(Location.parse(sampled), tiny_config(), one_by_one, samples=Location.parse(sampled / "samples"))
    assert hashes(cache) == before
    assert parts[2].stat().st_mtime_ns == kept
    assert hashes(sampled / "usefulness")["usefulness.json"] == first["usefulness.json"]

    tree = json.loads((sampled / "usefulness" / "usefulness.json").read_text())
    assert [arm["kind"] for arm in tree["arms"]] == ["synthetic", "real", "both", "real", "both"]
    assert [arm["num_real_subjects"] for arm in tree["arms"]] == [0, 4, 4, 8, 8]
    assert tree["arms"][0]["balanced_accuracy"]["All modalities"]["n"] == 4 * 4 * 3
    assert tree["arms"][2]["num_synthetic_images"] == 20
    assert tree["chance"] == {"All modalities": 0.5, "T1w": 0.5, "FLAIR": 0.5}
    assert loads_nothing(sampled / "usefulness" / "index.html")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["usefulness", "{run}", "--samples", "{run}/data"], "run `mrigen generate` first"),
        (["usefulness", "{run}", "--set", "held_out_cells=[HC:T1,HC:FLAIR]"], "needs two pathologies"),
        (["usefulness", "{run}", "--set", "studies.real_fractions=[0.0]"], "studies.real_fractions.0: Input should be"),
        (["usefulness", "{run}", "--set", "studies.real_fractions=[]"], "must name at least one share"),
        (["usefulness", "{run}", "--set", "studies.num_seeds=2"], "studies.num_seeds: Input should be greater than"),
        (["ablate", "{run}"], "run `mrigen train-ldm` first"),
        (["ablate", "{run}", "--set", "studies.step_counts=[5,5]"], "step_counts [5, 5] names a value twice"),
    ],
)
def test_bad_input_ends_with_one_line(
    sampled: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mrigen(*(arg.format(run=sampled) for arg in args)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (sampled / "usefulness").exists()
    assert not (sampled / "ablation").exists()


def test_an_ablation_needs_held_out_images(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(trained / "data")
    write_data(trained, CELLS, {"train": 1, "val": 1})
    assert mrigen("ablate", trained) == 2
    assert "no cell that the model was trained on has held-out real images" in capsys.readouterr().err
