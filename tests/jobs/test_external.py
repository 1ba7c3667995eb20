"""`mrigen evaluate --real` on made-up run folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrigen.each import one_by_one
from mrigen.images.index import index_real
from mrigen.labels import Cell
from mrigen.records import image_schema, read_file, tensor_numpy, to_table, write_table
from mrigen.stages.external import external_run
from mrigen.storage import Location
from tests.command import hashes, mrigen
from tests.fake_run import SIZE, close_data, made_up_image, sample_row, tiny_config, write_data, write_samples

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Dementia:T1w", "Dementia:PD")]
CONFIG = tiny_config("evaluation.extractors=[efficientnet-lite0]", "evaluation.num_permutations=100")


def darkened(run: Path) -> None:
    """Make all images of a run's data darker: a scanner of its own."""
    for file in sorted((run / "data").glob("*.parquet")):
        place = Location.parse(file)
        table = read_file(place)
        rows = table.drop_columns("image").to_pylist()
        images = tensor_numpy(table["image"])
        for row, image in zip(rows, images, strict=True):
            row["image"] = np.where(image > -1, 0.3 * image - 0.6, -1)
        write_table(to_table(rows, image_schema((SIZE, SIZE))), place)
    close_data(run)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run whose samples are as its real images are, and another of a darker scanner, which lacks a cell."""
    own, other = tmp_path / "own", tmp_path / "other"
    Location.parse(own / "config.json").write_json(CONFIG.model_dump(mode="json"))
    write_data(own, CELLS, {"train": 3, "test": 6})
    write_data(other, CELLS[:2], {"train": 3, "test": 5}, slices=4)
    darkened(other)
    rows = [
        sample_row(cell, number, image=made_up_image("real", f"{cell} {number}"))
        for cell in CELLS
        for number in range(18)
    ]
    write_samples(own / "samples", rows)
    return own, other


def metrics(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text())


def test_three_distances_tell_the_model_from_the_gap(
    runs: tuple[Path, Path], no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = runs
    assert mrigen("evaluate", own, "--real", other / "data", "--split", "all") == 0
    told = capsys.readouterr()
    assert "the gap between the data sets is the larger part, which this model cannot close" in told.out
    assert f"page: {own / 'external' / 'index.html'}" in told.out
    assert "note: Left out, for not all sides have them: Dementia:PD." in told.err
    assert "External slices lie at 0 to 18 mm, the own ones at 0 to 12 mm" in told.err
    tree = metrics(own / "external")
    overall = tree["rows"][0]
    assert overall["images"] == {"held_out": 36, "external": 64, "generated": 36}  # all: also of the training split
    kid = {pair: overall["figures"][f"efficientnet-lite0/{pair}/kid"] for pair in ("samples_to_own", "own_to_external")}
    assert kid["samples_to_own"]["high"] < kid["own_to_external"]["low"]
    assert {figure["n"] for name, figure in overall["figures"].items() if name.endswith("/kid")} == {36}
    assert tree["sides"]["external"]["brightness"] < tree["sides"]["held_out"]["brightness"] - 0.3
    assert "Dementia:PD" not in {row["name"] for row in tree["rows"]}
    page = (own / "external" / "index.html").read_text()
    assert f"mrigen evaluate {own} --split all --real {other / 'data'}" in page
    assert not re.search(r"<script|<link|@import|url\(|https?://", page)

    # A killed one is repeated; the run itself in the place of its data is the same.
    before = hashes(own / "external")["metrics.json"]
    assert sorted(path.name for path in (own / "external").iterdir()) == ["index.html", "metrics.json"]
    external_run(Location.parse(own), CONFIG, one_by_one, real=Location.parse(other), split="all")
    assert hashes(own / "external")["metrics.json"] == before


def test_a_data_set_against_itself_leaves_no_gap(runs: tuple[Path, Path], no_ray: None) -> None:
    own, _ = runs
    assert mrigen("evaluate", own, "--real", own, "--out", own.parent / "same") == 0
    tree = metrics(own.parent / "same")
    figures = tree["rows"][0]["figures"]
    assert figures["efficientnet-lite0/own_to_external/fid"]["value"] == pytest.approx(0, abs=1e-6)
    pairs = [figures[f"efficientnet-lite0/samples_to_{side}/fid"]["value"] for side in ("own", "external")]
    assert pairs[0] == pytest.approx(pairs[1])


def test_what_cannot_be_compared_is_refused_or_told(
    runs: tuple[Path, Path], no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = runs

    def refused(message: str, *options: object, real: Path = other) -> None:
        assert mrigen("evaluate", own, "--real", real, *options) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error

    def prepared(**settings: object) -> None:
        mark = json.loads((other / "data" / "_SUCCESS.json").read_text())
        mark["settings"] |= {f"data.{name}": value for name, value in settings.items()}
        (other / "data" / "_SUCCESS.json").write_text(json.dumps(mark))

    refused("--extrapolation does not go with --real", "--extrapolation")
    refused("--real: no folder", real=other / "nothing")
    refused("lacks the column 'licence': it is not from `mrigen prepare`", real=own / "samples")
    prepared(slice_step_mm=2.0)
    assert mrigen("evaluate", own, "--real", other) == 0
    told = f"note: Prepared otherwise: data.slice_step_mm is 2.0 there and {CONFIG.data.slice_step_mm} here."
    assert told in capsys.readouterr().err
    prepared(spacing_mm=1.0, head="strip")
    refused(
        "cannot be compared: data.spacing_mm is 1.0 there and 3.0 here; data.head is strip there and keep here: prep"
    )
    assert mrigen("evaluate", own, "--split", "all") == 2
    assert "--split all goes with --real only" in capsys.readouterr().err
    lone = own.parent / "lone"
    write_data(lone, [Cell.parse("MS:FLAIR")], {"test": 2})
    refused("no cell has own held-out images, samples, and images of the test split", real=lone)


def test_all_images_are_held_out_where_all_are_asked_for(runs: tuple[Path, Path]) -> None:
    _, other = runs
    assert {str(row.group) for row in index_real(Location.parse(other / "data"), "all").rows} == {"held_out"}
