"""An audit without Ray, on made-up images, with a small network of fixed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mrigen.audit import block_files, pairing
from mrigen.audit.block_files import BlockMaker, block_file
from mrigen.audit.decision import Audit
from mrigen.audit.nearest import NeighbourFinder, decide_by_results, read_results, result_file
from mrigen.audit.pairing import AuditPlan, plan_audit
from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, index_generated, index_real
from mrigen.labels import Cell
from mrigen.records import read_file, tensor_numpy, to_table, write_table
from mrigen.storage import Location
from tests.command import hashes
from tests.fake_run import SIZE, close_data, made_up_image, sample_row, tiny_config, write_data, write_samples

CELL, OTHER, FAR = (Cell.parse(name) for name in ("Healthy:T1w", "Sclerosis:T1w", "Dementia:PD"))
CONFIG = tiny_config()
WEIGHTS = torch.randn(1, SIZE * SIZE, 16, generator=torch.Generator().manual_seed(0))[0]


def extract(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1) @ WEIGHTS


def make_run(folder: Path, samples: Sequence[dict[str, Any]], cells: Sequence[Cell] = (CELL,)) -> Path:
    write_data(folder, cells, {"train": 12, "test": 8, "val": 8})
    write_samples(folder / "samples", samples)
    return folder


def rows(images: Sequence[Any], cell: Cell = CELL, *, trained: bool = True) -> list[dict[str, Any]]:
    return [sample_row(cell, k, trained=trained, image=image) for k, image in enumerate(images)]


def real_images(split: str, count: int, cell: Cell = CELL) -> list[Any]:
    """Images that `write_data` gives the subjects of a split."""
    names = [f"{split}{k // 3:03d}{cell.pathology}-{cell.modality}-{k % 3}" for k in range(count)]
    return [made_up_image("real", name) for name in names]


def plan_of(run: Path, config: Config = CONFIG) -> AuditPlan:
    real, generated = index_real(Location.parse(run / "data"), "test"), index_generated(Location.parse(run / "samples"))
    return plan_audit(real, generated, config)


def audit(run: Path, parts: Path, *, backwards: bool = False, config: Config = CONFIG) -> tuple[AuditPlan, Audit]:
    plan, folder = plan_of(run, config), Location.parse(parts)
    step = -1 if backwards else 1
    maker = BlockMaker(plan, config, folder, extract=extract)
    for shard in plan.shards[::step]:
        maker.make(shard)
    finder = NeighbourFinder(plan, config, folder)
    for number in range(len(plan.searches))[::step]:
        finder.find(number)
    return plan, decide_by_results(plan, folder, config.audit)


def noisy(image: Any) -> Any:
    return np.clip(image + np.random.default_rng(0).normal(0, 0.05, image.shape), -1, 1)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "exact": lambda image: image,
    "noise": noisy,
    "shifted": lambda image: np.roll(image, (2, -1), (0, 1)),
    "mirrored": lambda image: image[::-1],
    "scaled": lambda image: 0.5 * image + 0.1,
    "all": lambda image: noisy(np.roll(0.7 * image[::-1] + 0.2, (-1, 2), (0, 1))),
}


def test_planted_duplicates_are_caught_every_one(tmp_path: Path) -> None:
    copies = [np.ascontiguousarray(change(image)) for change in CHANGES.values() for image in real_images("train", 12)]
    _, found = audit(make_run(tmp_path / "run", rows(copies)), tmp_path / "parts")
    assert found.failed
    assert found.flagged.count == found.matches.count == found.flagged.n == len(copies)
    names = [query.training.id for query in found.cells[0].samples if query.training]
    assert names == [f"train{k // 3:03d}Healthy-T1w-{k % 3}" for k in range(12)] * len(CHANGES)


def test_new_people_passed_off_as_synthetic_pass(tmp_path: Path) -> None:
    _, found = audit(make_run(tmp_path / "run", rows(real_images("val", 24))), tmp_path / "parts")
    assert not found.failed
    assert found.flagged.n == 24
    assert found.flagged.count <= 3


def test_the_held_out_images_themselves_pass(tmp_path: Path) -> None:
    _, found = audit(make_run(tmp_path / "run", rows(real_images("test", 24))), tmp_path / "parts")
    assert not found.failed
    assert found.flagged.count == 0
    assert min(q.held_out.similarity for q in found.cells[0].samples if q.held_out) > 0.99999
    # ... and as held-out images they never met their own person.
    assert all(
        q.held_out and not q.held_out.id.startswith(q.owner) and q.held_out.similarity < 0.99
        for q in found.cells[0].held_out
    )


def test_noise_passes_and_is_unlike_both(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = [generator.uniform(-1, 1, (SIZE, SIZE)) for _ in range(12)]
    _, found = audit(make_run(tmp_path / "run", rows(noise)), tmp_path / "parts")
    assert not found.failed
    assert (found.flagged.count, found.unlike.count) == (0, 12)


def test_a_sample_named_like_a_subject_is_compared_with_it_too(tmp_path: Path) -> None:
    sample = sample_row(CELL, 0, image=real_images("train", 1)[0]) | {"id": "train000Healthy"}
    _, found = audit(make_run(tmp_path / "run", [sample]), tmp_path / "parts")
    assert found.flagged.count == 1


def test_broken_samples_are_counted_and_not_compared(tmp_path: Path) -> None:
    bad = [np.full((SIZE, SIZE), np.nan), np.zeros((SIZE, SIZE)), real_images("train", 1)[0]]
    _, found = audit(make_run(tmp_path / "run", rows(bad)), tmp_path / "parts")
    assert [query.fault for query in found.cells[0].samples] == ["not finite", "constant", None]
    assert (found.cells[0].num_faulty, found.flagged.n, found.num_undecided) == (2, 1, 2)


def test_a_broken_training_image_is_nobodys_neighbour(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(real_images("train", 2)))
    for file in Location.parse(run / "data").files(".parquet"):
        table = read_file(file)
        broken = table.to_pylist()
        for row, image in zip(broken, tensor_numpy(table["image"]).copy(), strict=True):
            image[0, 0] = np.nan if row["id"] == "train000Healthy-T1w-0" else image[0, 0]
            row["image"] = image
        write_table(to_table(broken, table.schema), file)
    close_data(run)
    _, found = audit(run, tmp_path / "parts")
    nearest = [query.training.id for query in found.cells[0].samples if query.training]
    assert nearest[0] != "train000Healthy-T1w-0"
    assert nearest[1] == "train000Healthy-T1w-1"


def test_neither_order_nor_blocks_nor_an_interruption_change_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", rows(real_images("val", 10)))
    monkeypatch.setattr(pairing, "BLOCK_ROWS", 8)
    plan, _ = audit(run, tmp_path / "one")
    assert len(plan.blocks) > 5

    # Some parts are there, one of each kind is cut short, and the rest is done in another order, with no cache.
    monkeypatch.setattr(block_files, "CACHE_BYTES", 0)
    again = tmp_path / "two"
    for file in [block_file(Location.parse("x"), n) for n in (0, 1)] + [result_file(Location.parse("x"), 0)]:
        content = (tmp_path / "one" / file.name).read_bytes()
        Location.parse(again / file.name).write_bytes(content[:-50] if file.name != "block-000000.parquet" else content)
    kept = (again / "block-000000.parquet").stat().st_mtime_ns
    audit(run, again, backwards=True)
    assert hashes(again) == hashes(tmp_path / "one")
    assert (again / "block-000000.parquet").stat().st_mtime_ns == kept


def test_blocks_are_no_matter_to_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", rows(real_images("val", 10)))

    def found(folder: Path) -> dict[str, Any]:
        plan, _ = audit(run, folder)
        queries = [query for _, some in read_results(plan, Location.parse(folder)) for query in some]
        return {q.id: (q.training and q.training.id, q.held_out and q.held_out.id) for q in queries}

    whole = found(tmp_path / "one")
    monkeypatch.setattr(pairing, "BLOCK_ROWS", 5)
    assert found(tmp_path / "two") == whole


def test_an_untrained_cell_meets_its_pathology_and_its_modality(tmp_path: Path) -> None:
    samples = rows(real_images("train", 6), OTHER, trained=False)
    run = make_run(tmp_path / "run", samples, (CELL, OTHER, FAR))
    plan, found = audit(run, tmp_path / "parts")
    assert plan.counterparts[OTHER].references == (CELL,)
    assert plan.counterparts[OTHER].yardstick == (OTHER,)  # its own held-out images are enough
    assert (found.cells[0].trained, found.flagged.count) == (False, 6)
    trained_on = {row.cell for block in plan.blocks if block.group == Group.REFERENCE for row in block.rows}
    assert trained_on == {CELL, FAR}

    write_samples(run / "samples", rows(real_images("train", 6), OTHER))  # which the settings alone tell now
    assert plan_of(run).counterparts[OTHER].references == (OTHER,)
    assert plan_of(run, tiny_config("held_out_cells=['Sclerosis:T1w']")).counterparts == plan.counterparts


def test_an_untrained_cell_without_held_out_images_takes_those_it_meets(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(real_images("train", 6), OTHER, trained=False), (CELL, FAR))
    plan, found = audit(run, tmp_path / "parts")
    assert plan.counterparts[OTHER].yardstick == (CELL,)
    assert found.failed
    lonely = rows(real_images("train", 6), Cell.parse("Glioblastoma:T2w"), trained=False)
    _, found = audit(make_run(tmp_path / "lonely", lonely), tmp_path / "lonely-parts")
    assert found.cells[0].reason == "no training image of the same pathology or modality"


def test_what_cannot_be_audited_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(real_images("val", 3)))
    real, made = index_real(Location.parse(run / "data"), "test"), index_generated(Location.parse(run / "samples"))
    for first, second, words in (
        (real, replace(made, shape=(8, 8)), "have shape"),
        (replace(real, shape=(8, 8, 8)), replace(made, shape=(8, 8, 8)), "only slices"),
        (real, ImageIndex(), "no generated image"),
        (replace(real, rows=[r for r in real.rows if r.group == Group.REFERENCE]), made, "no held-out image"),
        (replace(real, rows=[r for r in real.rows if r.group == Group.HELD_OUT]), made, "no training image"),
    ):
        with pytest.raises(InputError, match=words):
            plan_audit(first, second, CONFIG)


def test_the_digest_names_what_the_results_depend_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", rows(real_images("val", 3)))
    digest = plan_of(run).digest
    assert plan_of(run, tiny_config("sampler.num_steps=4")).digest == digest
    for setting in ("audit.max_shift=1", "evaluation.feature_size=64", "data.plane=sagittal"):
        assert plan_of(run, tiny_config(setting)).digest != digest, setting
    write_samples(run / "samples", rows(real_images("test", 3)))  # other pixels under the same names
    assert plan_of(run).digest != digest
