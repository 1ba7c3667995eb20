"""`mrigen audit` on a made-up run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrigen.audit import pairing
from mrigen.audit.block_files import BlockMaker, block_file
from mrigen.audit.nearest import NeighbourFinder, result_file
from mrigen.audit.pairing import plan_audit
from mrigen.each import one_by_one
from mrigen.images.index import index_generated, index_real
from mrigen.labels import Cell
from mrigen.stages.audit import audit_run
from mrigen.storage import Location
from tests.command import hashes, mrigen
from tests.fake_run import SIZE, made_up_image, sample_row, tiny_config, write_data, write_samples

CELLS = [Cell.parse("Healthy:T1w"), Cell.parse("Sclerosis:PD")]
CONFIG = tiny_config()


def real_image(cell: Cell, split: str, number: int) -> Any:
    """Slice `number` of the subjects of a split, as `write_data` makes it."""
    return made_up_image("real", f"{split}{number // 3:03d}{cell.pathology}-{cell.modality}-{number % 3}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Samples that are new people, of which `val` holds the images."""
    folder = tmp_path / "run"
    Location.parse(folder / "config.json").write_json(CONFIG.model_dump(mode="json"))
    write_data(folder, CELLS, {"train": 8, "test": 6, "val": 5})
    write_samples(
        folder / "samples", [sample_row(c, k, image=real_image(c, "val", k)) for c in CELLS for k in range(12)]
    )
    return folder


def result(folder: Path) -> Any:
    return json.loads((folder / "audit.json").read_text())


@pytest.mark.ray
@pytest.mark.slow
def test_new_people_pass_and_the_result_depends_neither_on_workers_nor_on_an_interruption(
    run: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pairing, "BLOCK_ROWS", 16)
    assert mrigen("audit", run, "--num-workers", "2") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "No copies detected.",
        f"page: {run / 'audit' / 'index.html'}",
    ]
    assert sorted(path.name for path in (run / "audit").iterdir()) == ["audit.json", "index.html"]
    tree = result(run / "audit")
    assert (tree["failed"], tree["overall"]["flagged"]["n"]) == (False, 24)

    # What a killed run leaves: some parts, some of them damaged, and a file half-written; without Ray it goes on.
    again = run.parent / "again"
    folder = Location.parse(run)
    plan = plan_audit(index_real(folder / "data", "test"), index_generated(folder / "samples"), CONFIG)
    parts = Location.parse(again / ".parts" / plan.digest[:16])
    maker = BlockMaker(plan, CONFIG, parts)
    for shard in plan.shards:
        maker.make(shard)
    NeighbourFinder(plan, CONFIG, parts).find(0)
    for file in (block_file(parts, 0), result_file(parts, 0)):
        Path(file.path).write_bytes(file.read_bytes()[:-100])
    Path(parts.path, ".block-000001.parquet.0.tmp").write_bytes(b"PAR1")
    audit_run(folder, CONFIG, one_by_one, out=Location.parse(again))
    assert hashes(again)["audit.json"] == hashes(run / "audit")["audit.json"]


def test_planted_duplicates_fail_and_are_named(run: Path, no_ray: None, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)

    def changed(number: int) -> Any:
        image = real_image(CELLS[0], "train", number)
        image = np.roll(image[::-1] if number % 2 else image, (number % 3 - 1, 2), (0, 1))
        return (0.3 + 0.1 * (number % 7)) * image + generator.normal(0, 0.01, (SIZE, SIZE))

    copies = [sample_row(CELLS[0], 100 + k, image=changed(k)) for k in range(10)]
    fresh = [sample_row(cell, k, image=real_image(cell, "val", k)) for cell in CELLS for k in range(12)]
    write_samples(run / "elsewhere", [*fresh, *copies], complete=False)
    assert mrigen("audit", run, "--samples", run / "elsewhere") == 1
    assert "look like copies of training images." in capsys.readouterr().out
    tree = result(run / "audit")
    found = {sample["id"]: sample for sample in tree["flagged_samples"] if sample["match"]}
    assert {row["id"] for row in copies} <= found.keys()
    assert len(found) <= 12
    nearest = [found[row["id"]]["training"]["id"] for row in copies]
    assert nearest == [f"train{k // 3:03d}Healthy-T1w-{k % 3}" for k in range(10)]
    assert "not complete" in tree["notices"][0]
    assert "look like copies" in (run / "audit" / "index.html").read_text()


def test_noise_passes_and_what_cannot_be_decided_fails(run: Path) -> None:
    generator = np.random.default_rng(0)
    noise = [generator.uniform(-1, 1, (SIZE, SIZE)) for _ in range(12)]
    write_samples(run / "samples", [sample_row(CELLS[0], k, image=image) for k, image in enumerate(noise)])
    assert not audit_run(Location.parse(run), CONFIG, one_by_one).failed
    told = result(run / "audit")["notices"]
    assert any("unlike training and held-out images alike" in notice for notice in told)
    assert any("of another model than this run's own" in notice for notice in told)

    flat = np.zeros((SIZE, SIZE))
    write_samples(run / "samples", [sample_row(CELLS[0], k, image=flat) for k in range(12)])
    assert audit_run(Location.parse(run), CONFIG, one_by_one).failed
    tree = result(run / "audit")
    assert tree["verdict"] == "Nothing could be judged."
    assert tree["cells"][0]["reason"] == "every sample is constant or not finite"
