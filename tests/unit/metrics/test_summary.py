"""The library's part of an evaluation, without Ray: shards computed here, added up in any order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mrigen.checkpoint import load_autoencoder
from mrigen.labels import Cell
from mrigen.metrics import plan as plan_module
from mrigen.metrics.distribution import frechet_distance_few
from mrigen.metrics.features import FeatureExtractor
from mrigen.metrics.plan import Group, ImageIndex, Plan, index_generated, index_real, make_plan
from mrigen.metrics.summary import Evaluation, Row, gather, summarise
from mrigen.metrics.work import ShardWorker, find_autoencoder, part_is_whole, part_name, read_parts
from mrigen.records import write_table
from mrigen.storage import Location
from tests.fake_run import SIZE, made_up_image, sample_row, tiny_config, write_autoencoder, write_data, write_samples

FULL, FEW, BROKEN, EMPTY = (Cell.parse(n) for n in ("Healthy:T1w", "Healthy:T2w", "Dementia:PD", "Sclerosis:PD"))
CONFIG = tiny_config("held_out_cells=['Dementia:PD']")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run")
    write_data(folder, [FULL, FEW, BROKEN], {"train": 6, "test": 4})
    nan = np.full((SIZE, SIZE), np.nan)
    rows = [sample_row(FULL, i) for i in range(11)]
    rows += [sample_row(FEW, i) for i in range(5)]
    rows += [sample_row(BROKEN, i, trained=False, image=nan if i == 3 else None) for i in range(10)]
    rows += [sample_row(EMPTY, i) for i in range(10)]
    write_samples(folder / "samples", rows)
    write_autoencoder(folder / "vae", CONFIG)
    return folder


@pytest.fixture(scope="module")
def plan(run: Path) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "SHARD_ROWS", 16)
        real = index_real(Location.parse(run / "data"), "test")
        return make_plan(real, index_generated(Location.parse(run / "samples")), CONFIG, autoencoder="x")


@pytest.fixture(scope="module")
def parts(run: Path, plan: Plan) -> list[pa.Table]:
    worker = ShardWorker(plan, 32, Location.parse(run / "vae"))
    return [worker(index) for index in range(len(plan.shards))]


@pytest.fixture(scope="module")
def evaluation(plan: Plan, parts: list[pa.Table]) -> Evaluation:
    return summarise(gather(parts, (SIZE, SIZE)), CONFIG, split="test", untrained=plan.untrained)


def row_of(evaluation: Evaluation, cell: Cell) -> Row:
    return next(row for row in evaluation.cells if row.cell == cell)


def test_a_full_cell_has_every_figure_with_its_n(evaluation: Evaluation) -> None:
    row = row_of(evaluation, FULL)
    assert not row.untrained
    assert row.images == {"held_out": 12, "held_out_subjects": 4, "generated": 11, "reference": 11}
    assert {name: figure.n for name, figure in row.figures.items()} == {
        "autoencoder_psnr_db": 12, "autoencoder_ssim": 12, "fid": 11, "fid_floor": 11,
        "ms_ssim_generated": 10, "ms_ssim_real": 10,
    }  # fmt: skip
    assert all(figure.value is not None for figure in row.figures.values())


def test_where_there_is_no_figure_there_is_a_reason(evaluation: Evaluation) -> None:
    few, broken, empty = (row_of(evaluation, cell).figures for cell in (FEW, BROKEN, EMPTY))
    assert "here are 12 real and 5" in (few["fid"].reason or "")
    assert few["ms_ssim_generated"].value is not None
    assert (
        broken["fid"].reason == broken["ms_ssim_generated"].reason == "1 of 10 images hold values that are not finite"
    )
    assert broken["fid_floor"].value is not None
    for name in ("autoencoder_psnr_db", "fid", "fid_floor", "ms_ssim_real"):
        assert empty[name].reason == "no image of this cell in the test split"
    assert empty["ms_ssim_generated"].value is not None
    nothing = row_of(evaluation, Cell.parse("Glioblastoma:FLAIR")).figures
    assert nothing["fid"].reason == "no generated image of this cell"


def test_untrained_cells_are_marked_and_pooled_apart(evaluation: Evaluation) -> None:
    assert row_of(evaluation, BROKEN).untrained
    trained, untrained = evaluation.pooled
    assert (trained.untrained, untrained.untrained) == (False, True)
    assert untrained.images["generated"] == 10
    assert "not finite" in (untrained.figures["fid"].reason or "")


def test_the_pooled_fid_takes_equally_many_of_each_cell(evaluation: Evaluation) -> None:
    trained = evaluation.pooled[0]
    assert trained.images["generated"] == 26
    assert trained.figures["fid"].n == 11 + 5  # EMPTY has no held-out image to compare its 10 with
    assert trained.figures["fid_floor"].n == 11 + 5
    assert trained.figures["autoencoder_psnr_db"].n == 24


def test_the_pooled_floor_leaves_out_cells_without_samples(plan: Plan, parts: list[pa.Table]) -> None:
    found = gather(parts, (SIZE, SIZE))
    del found[Group.GENERATED, FEW]
    pooled = summarise(found, CONFIG, split="test", untrained=plan.untrained).pooled[0].figures
    assert pooled["fid"].n == pooled["fid_floor"].n == 11


def test_fid_and_autoencoder_figures_are_those_computed_by_hand(evaluation: Evaluation, run: Path) -> None:
    held_out = [f"test{n:03d}Healthy-T1w-{k}" for n in range(4) for k in range(3)]
    real = torch.stack([torch.from_numpy(made_up_image("real", name)) for name in held_out])[:, None].half().float()
    fake = (
        torch.stack([torch.from_numpy(made_up_image("fake", str(FULL), i)) for i in range(11)])[:, None].half().float()
    )
    extractor, autoencoder = FeatureExtractor(32), load_autoencoder(run / "vae")
    with torch.inference_mode():
        restored = autoencoder.decode(autoencoder.encode(real).mean).clamp(-1, 1)
        distance = frechet_distance_few(extractor(real), extractor(fake))
    error = (restored - real).square().mean(dim=(1, 2, 3))
    figures = row_of(evaluation, FULL).figures
    assert figures["fid"].value == pytest.approx(distance, rel=1e-3)
    assert figures["autoencoder_psnr_db"].value == pytest.approx(float((10 * torch.log10(4 / error)).mean()), rel=1e-4)


def test_the_order_of_the_parts_changes_no_bit(plan: Plan, parts: list[pa.Table], evaluation: Evaluation) -> None:
    other = summarise(gather(reversed(parts), (SIZE, SIZE)), CONFIG, split="test", untrained=plan.untrained)
    assert [row.as_json() for row in other.cells] == [row.as_json() for row in evaluation.cells]
    assert [row.as_json() for row in other.pooled] == [row.as_json() for row in evaluation.pooled]
    for key, images in evaluation.pictures.items():
        assert np.array_equal(np.stack(images), np.stack(other.pictures[key]))


def test_figures_are_json_without_nan(evaluation: Evaluation) -> None:
    json.dumps([row.as_json() for row in (*evaluation.cells, *evaluation.pooled)], allow_nan=False)


def test_pictures_are_spread_over_the_heights(evaluation: Evaluation) -> None:
    images = evaluation.pictures[Group.GENERATED, FULL]
    assert len(images) == 6
    heights = [5.0 * (i % 4) for i in range(11)]
    lowest = [made_up_image("fake", str(FULL), i).astype(np.float16) for i in range(11) if heights[i] == 0]
    assert any(np.array_equal(images[0], image) for image in lowest)


def test_a_wider_gap_between_sets_raises_fid_over_its_floor(run: Path, tmp_path: Path) -> None:
    flat = [sample_row(FULL, i, image=0.2 * made_up_image("fake", i)) for i in range(11)]
    write_samples(tmp_path / "samples", flat)
    plan = make_plan(
        index_real(Location.parse(run / "data"), "test"),
        index_generated(Location.parse(tmp_path / "samples")),
        CONFIG,
        autoencoder="none",
    )
    worker = ShardWorker(plan, 32, None)
    found = gather([worker(index) for index in range(len(plan.shards))], (SIZE, SIZE))
    evaluation = summarise(found, CONFIG, split="test", untrained=frozenset(), no_autoencoder="not trained")
    figures = row_of(evaluation, FULL).figures
    assert (figures["fid"].value or 0) > 2 * (figures["fid_floor"].value or 0)
    assert figures["autoencoder_ssim"].reason == "not trained"


def test_without_samples_the_real_figures_remain(run: Path) -> None:
    plan = make_plan(index_real(Location.parse(run / "data"), "test"), ImageIndex(), CONFIG, autoencoder="x")
    worker = ShardWorker(plan, 32, Location.parse(run / "vae"))
    found = gather([worker(index) for index in range(len(plan.shards))], (SIZE, SIZE))
    evaluation = summarise(found, CONFIG, split="test", untrained=plan.untrained, no_samples="generate first")
    figures = row_of(evaluation, FULL).figures
    assert figures["fid"].reason == figures["ms_ssim_generated"].reason == "generate first"
    assert figures["fid_floor"].n == 12
    assert evaluation.pooled[0].figures["fid"].reason == "generate first"


def test_parts_are_checked_before_they_count_as_done(plan: Plan, parts: list[pa.Table], tmp_path: Path) -> None:
    folder = Location.parse(tmp_path)
    part = folder / part_name(0)
    assert not part_is_whole(part, plan, 0)
    write_table(parts[0], part)
    assert part_is_whole(part, plan, 0)
    assert not part_is_whole(part, plan, 1)
    whole = part.read_bytes()
    num_refused = 0
    for position in range(100, len(whole), len(whole) // 20):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        part.write_bytes(bytes(damaged))
        refused = not part_is_whole(part, plan, 0)
        num_refused += refused
        assert refused or pq.read_table(part.path).equals(parts[0])  # a byte that nothing reads
    assert num_refused > 5
    part.write_bytes(whole[: len(whole) // 2])
    assert not part_is_whole(part, plan, 0)
    for index, table in enumerate(parts):
        write_table(table, folder / part_name(index))
    assert [table.num_rows for table in read_parts(folder, plan)] == [len(shard) for shard in plan.shards]


def test_the_finished_models_autoencoder_goes_first(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    assert find_autoencoder(run) is None
    write_autoencoder(tmp_path / "vae", CONFIG)
    write_autoencoder(tmp_path / "model" / "vae", CONFIG)
    assert find_autoencoder(run) == run / "vae"
    (tmp_path / "model" / "SHA256SUMS").write_text("")
    assert find_autoencoder(run) == run / "model" / "vae"
