"""`mrigen evaluate` on a made-up run folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrigen.cohort.order import CohortOrder
from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.evaluation import planning
from mrigen.evaluation.planning import plan_evaluation
from mrigen.evaluation.shard_describer import ShardDescriber, describe_once
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.features.networks import NO_CLASSIFIER, find_networks
from mrigen.images.index import index_generated, index_real
from mrigen.labels import Cell
from mrigen.report.publish import Published
from mrigen.stages.evaluate import evaluate_run
from mrigen.stages.generate import generate_run
from mrigen.stages.verify import verify_run
from mrigen.storage import Location
from tests.command import hashes, mrigen
from tests.fake_run import sample_row, tiny_config, write_autoencoder, write_data, write_samples

CELLS = [Cell.parse("Healthy:T1w"), Cell.parse("Sclerosis:PD")]
CONFIG = tiny_config("held_out_cells=['Sclerosis:PD']")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with all that evaluate needs."""
    folder = tmp_path / "run"
    Location.parse(folder / "config.json").write_json(CONFIG.model_dump(mode="json"))
    write_data(folder, CELLS, {"train": 5, "test": 5})
    write_samples(folder / "samples", [sample_row(c, i, trained=c == CELLS[0]) for c in CELLS for i in range(12)])
    write_autoencoder(folder / "vae", CONFIG)
    return folder


def evaluated(run: Path, **asked: Any) -> Published:
    """Without Ray."""
    return evaluate_run(Location.parse(run), CONFIG, one_by_one, **asked)


def metrics(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.ray
@pytest.mark.slow
def test_the_report_depends_neither_on_who_works_nor_on_an_interruption(
    run: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 16)
    assert mrigen("evaluate", run, "--num-workers", "2", "--extrapolation") == 0
    printed = capsys.readouterr().out
    assert str(run / "report" / "index.html") in printed.splitlines()[-1]
    assert "Sclerosis:PD *" in printed
    assert sorted(path.name for path in (run / "report").iterdir()) == ["index.html", "metrics.json"]

    # What a killed run leaves: some files, one of them damaged, and one half-written.
    shutil.rmtree(run / ".cache")
    again = run.parent / "again"
    shards, files, describer = shards_of(run, again)
    for shard in (shards[0], shards[-1]):
        describe_once(files, describer, shard)
    damaged = Path(files.place_of(shards[-1]).path)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (damaged.parent / ".part-000001.parquet.0.tmp").write_bytes(b"PAR1")
    evaluated(
        run,
        out=Location.parse(again),
        extrapolation=True,
        command=f"mrigen evaluate {run} --split test --extrapolation",
    )
    for name in ("metrics.json", "index.html"):
        assert (again / name).read_bytes() == (run / "report" / name).read_bytes(), name
    assert not (again / ".parts").exists()

    tree = metrics(run / "report")
    rows = {row["name"]: row for row in tree["rows"]}
    healthy = rows["Healthy:T1w"]["figures"]
    assert rows["Healthy:T1w"]["images"]["generated"] == 12
    assert healthy["efficientnet-lite0/fid"]["n"] == healthy["efficientnet-lite0/fid_floor"]["n"] == 12
    assert rows["Sclerosis:PD"]["untrained"] is True
    assert (
        rows["Dementia:PD"]["figures"]["efficientnet-lite0/fid"]["reason"] == "no image of this cell in the test split"
    )
    assert tree["split"] == "test"
    _compare(run, again, capsys)


def _compare(first: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two reports of one run side by side: nothing differs."""
    capsys.readouterr()
    assert mrigen("compare", first, second, "--cells") == 0
    printed = capsys.readouterr().out
    assert "efficientnet-lite0/kid" in printed
    assert "Healthy:T1w" in printed
    assert not any(line.endswith("  *") for line in printed.splitlines())
    assert mrigen("compare", first, first / "data") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run `mrigen evaluate` first" in error


def test_what_goes_wrong_in_the_work_ends_in_one_line(
    run: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = run / "report" / ".parts"
    parts.parent.mkdir()
    parts.write_text("in the way")
    assert mrigen("evaluate", run) == os.EX_IOERR
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.fullmatch(rf"mrigen: error: \[Errno \d+\] .*: '{re.escape(str(parts))}.*'", error.splitlines()[-1])

    parts.unlink()
    damaged = run / "samples" / "manifest" / "shard-000000.parquet"
    content = damaged.read_bytes()
    third = len(content) // 3  # among the images, which only workers read
    damaged.write_bytes(content[:third] + bytes(100) + content[third + 100 :])
    assert mrigen("evaluate", run) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith(f"mrigen: error: {damaged} ")


def test_a_file_where_results_belong_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "report").write_text("in the way")
    assert mrigen("evaluate", run) == 2
    error = f"mrigen: error: {run / 'report'} is a file: name a folder to write to"
    assert capsys.readouterr().err.splitlines()[-1] == error


def test_a_shard_that_is_done_is_not_done_again(run: Path, tmp_path: Path) -> None:
    shards, files, describer = shards_of(run, tmp_path / "out")
    for shard in (shards[0], shards[-1]):
        describe_once(files, describer, shard)
        file = Path(files.place_of(shard).path)
        before = file.stat()
        describe_once(files, describer, shard)
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        file.write_bytes(file.read_bytes()[:-1])
        describe_once(files, describer, shard)
        assert file.stat().st_size == before.st_size


def shards_of(run: Path, out: Path) -> Any:
    """The shards of an evaluation to `out`, where their files lie, and what describes them."""
    place = Location.parse(run)
    networks = find_networks(place, CONFIG)
    real, generated = index_real(place / "data", "test"), index_generated(place / "samples")
    plan = plan_evaluation(real, generated, CONFIG, networks.hashes)
    files = ShardFiles(place / ".cache" / "evaluation", Location.parse(out) / ".parts")
    return plan.shards, files, ShardDescriber(plan, networks, CONFIG)


def test_without_samples_and_autoencoder_the_floor_remains(run: Path) -> None:
    (run / "vae").rename(run / "elsewhere")
    (run / "samples").rename(run / "gone")
    evaluated(run)
    figures = figures_of(run, "Healthy:T1w")
    assert figures["efficientnet-lite0/kid"]["reason"] == "no generated images: run `mrigen generate` first"
    assert figures["autoencoder-quality/psnr_db"]["reason"] == "no trained autoencoder: run `mrigen train-vae` first"
    assert figures["autoencoder/kid"]["reason"] == "no trained autoencoder: run `mrigen train-vae` first"
    assert figures["efficientnet-lite0/kid_floor"]["value"] is not None
    assert figures["diversity/ms_ssim_real"]["value"] is not None
    assert figures["fidelity/modality"]["reason"] == "no generated images: run `mrigen generate` first"
    assert figures["fidelity/modality_real"]["n"] == 15

    (run / "gone" / "_SUCCESS.json").unlink()
    cached = hashes(run / ".cache")
    [notice, *_] = evaluated(run, samples=Location.parse(run / "gone"), split="val").notices
    assert hashes(run / ".cache") == cached  # no image of the val split, and nothing to hold training images against
    assert "not complete" in notice
    assert metrics(run / "report")["notices"][0] == notice
    figures = figures_of(run, "Healthy:T1w")
    assert figures["efficientnet-lite0/kid"]["reason"] == "no image of this cell in the val split"
    assert figures["diversity/ms_ssim_generated"]["value"] is not None


def test_the_card_of_a_data_set_tells_its_figures_until_it_grows(run: Path, tiny_run: Path) -> None:
    shutil.rmtree(run / "samples")
    samples, model = Location.parse(run / "samples"), Location.parse(tiny_run / "model")
    order = CohortOrder("HC:T1=12,MS:PD=4", allow_untrained=True, redraws=0, formats=("parquet",))
    generate_run(samples, model, one_by_one, order)
    card = run / "samples" / "README.md"
    before = card.read_text()
    command = "mrigen evaluate run"
    evaluated(run, command=command)
    told = card.read_text()
    assert told.startswith(f"{before}\n## Figures of the images\n\nBy `{command}` of mrigen ")
    row = next(row for row in metrics(run / "report")["rows"] if row["name"] == "All trained cells")
    made, floor = (row["figures"][f"efficientnet-lite0/{name}"] for name in ("precision", "precision_floor"))
    line = next(line for line in told.splitlines() if line.startswith("| all trained cells | precision |"))
    numbers = re.findall(r"-?[0-9.]+", line)
    expected = [one[name] for one in (made, floor) for name in ("value", "low", "high", "n") if one[name] is not None]
    assert list(map(float, numbers)) == pytest.approx(expected, abs=0.005)
    for sentence in metrics(run / "report")["notices"] + metrics(run / "report")["verdict"]:
        assert f"\n- {sentence}\n" in told
    assert verify_run(samples, one_by_one).words == []
    evaluated(run, command=command)
    assert card.read_text() == told

    card.write_text("mine")
    [_, note] = evaluated(run).words
    assert note == (
        "note: the card of the samples does not tell these figures: "
        f"{samples} was changed since: call `mrigen verify`, then evaluate again"
    )
    assert card.read_text() == "mine"
    generate_run(samples, model, one_by_one, replace(order, cells="HC:T1=13,MS:PD=4"))
    assert "17 images" in card.read_text()
    assert "## Figures" not in card.read_text()
    assert verify_run(samples, one_by_one).words == []


def figures_of(run: Path, name: str) -> Any:
    return next(row for row in metrics(run / "report")["rows"] if row["name"] == name)["figures"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{run}", "--samples", "{run}/nothing"], "nothing"),
        (["{run}", "--samples", "{run}/data"], "run `mrigen generate` first"),
        (["{run}", "--set", "evaluation.extractors=[]"], "must name one or more, each once"),
        (
            [
                *("{run}", "--set", "evaluation.extractors=[inception]"),
                *("--set", "evaluation.weights.inception={run}/config.json"),
            ],
            "config.json is not a whole safetensors file",
        ),
    ],
)
def test_bad_input_ends_with_one_line(
    run: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mrigen("evaluate", *(arg.format(run=run) for arg in args)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (run / "report").exists()


def test_without_training_images_there_is_no_classifier(tmp_path: Path) -> None:
    write_data(tmp_path, CELLS[:1], {"test": 5})
    with pytest.raises(InputError, match=f"^--extrapolation: {NO_CLASSIFIER}$"):
        evaluated(tmp_path, extrapolation=True)
    evaluated(tmp_path)
    figures = figures_of(tmp_path, "Healthy:T1w")
    assert figures["fidelity/modality_real"]["reason"] == figures["mri/kid"]["reason"] == NO_CLASSIFIER
    assert figures["diversity/ms_ssim_real"]["value"] is not None
