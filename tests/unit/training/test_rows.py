"""The order of training rows, the random numbers of each, and the rows themselves against the Parquet files."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import kstest

from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.models.conditioning import Conditions
from mrigen.records import image_schema, read_table, tensor_numpy, write_table
from mrigen.storage import Location
from mrigen.training.places import Places, RowOrder, evenly_spaced
from mrigen.training.rows import TrainingRows
from tests.fake_run import write_data

CELLS = all_cells()[:4]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Location:
    run = tmp_path_factory.mktemp("data")
    write_data(run, CELLS, {"train": 2, "val": 1}, num_files=3)
    return Location.parse(run / "data")


def test_every_epoch_sees_every_row_once_across_batches():
    rows = np.concatenate([RowOrder(20).batch(5, seed=3, step=step) for step in range(12)])
    for epoch in range(3):
        assert sorted(rows[20 * epoch : 20 * epoch + 20]) == list(range(20))
    assert rows[:20].tolist() != rows[20:40].tolist()


def test_a_batch_larger_than_the_data_repeats_it_evenly():
    counts = Counter(RowOrder(3).batch(10, seed=0, step=0).tolist())
    assert set(counts.values()) <= {3, 4}


def test_the_order_is_what_it_was_in_the_first_release():
    assert RowOrder(50).batch(8, seed=1, step=9).tolist() == [7, 23, 9, 26, 41, 45, 39, 10]


@pytest.mark.parametrize(("balance", "shares"), [(0.5, [3, 1]), (1.0, [1, 1])])
def test_rare_cells_come_more_often_where_that_is_asked_for(tmp_path, balance, shares):
    write_data(tmp_path, CELLS[:1], {"train": 9}, num_files=1)
    write_data(tmp_path / "rare", CELLS[1:2], {"train": 1}, num_files=1)
    [rare_file] = (tmp_path / "rare" / "data").glob("*.parquet")
    rare_file.rename(tmp_path / "data" / "rare.parquet")
    rows = TrainingRows(Location.parse(tmp_path / "data"), "train", [], tmp_path)
    assert [rows.counts[cell] for cell in CELLS[:2]] == [27, 3]
    order = rows.order(balance)
    drawn = np.concatenate([order.batch(30, seed=0, step=epoch) for epoch in range(200)])
    counts = Counter(drawn.tolist())
    assert len(counts) == 30
    common, rare = sum(counts[row] for row in range(27)), sum(counts[row] for row in range(27, 30))
    assert common / rare == pytest.approx(shares[0] / shares[1], rel=0.02)
    assert max(counts[row] for row in range(27)) < 1.2 * min(counts[row] for row in range(27))


def test_equal_weights_give_each_row_once():
    drawn = RowOrder(20, np.full(20, 0.3)).batch(20, seed=1, step=0)
    assert sorted(drawn.tolist()) == list(range(20))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_out_the_rows_and_draw_what_one_worker_would(world):
    alone = Places.of_rank(0, 1, 8, seed=5, step=7)
    uniform, normal = alone.draw(3, (2, 3))
    for rank in range(world):
        share = Places.of_rank(rank, world, 8, seed=5, step=7)
        assert share.rows(RowOrder(20)).tolist() == RowOrder(20).batch(8, 5, 7)[rank::world].tolist()
        assert share.strata().tolist() == alone.strata()[rank::world].tolist()
        numbers = share.draw(3, (2, 3))
        assert torch.equal(numbers[0], uniform[rank::world])
        assert torch.equal(numbers[1], normal[rank::world])
    assert sorted(alone.strata()) == list(range(8))


def test_the_numbers_of_a_place_are_those_of_a_generator_of_its_own():
    uniform, normal = Places(5, 7, 8, range(2, 4)).draw(3, (4, 2))
    for place in (2, 3):
        philox = np.random.Philox(key=np.array([5, 7], np.uint64), counter=np.array([0, 0, 0, place], np.uint64))
        alone = np.random.Generator(philox)
        np.testing.assert_array_equal(uniform[place - 2], alone.random(3))
        np.testing.assert_array_equal(normal[place - 2], alone.standard_normal((4, 2), np.float32))


def test_numbers_are_uniform_and_normal_and_no_place_has_those_of_another():
    places = [Places(seed, step, 8, range(8)) for seed in (0, 1, 2**63 - 1) for step in range(4)]
    uniform, normal = (torch.cat(numbers) for numbers in zip(*(p.draw(500, (500,)) for p in places), strict=True))
    assert kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-3
    assert kstest(normal.flatten().numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(torch.cat([uniform, normal])) - torch.eye(2 * len(normal))
    assert float(correlation.abs().max()) < 6 / 500**0.5


def test_rows_are_those_of_the_split_in_the_files(data, tmp_path):
    rows = TrainingRows(data, "train", ["image"], tmp_path, [str(CELLS[3])])
    table = read_table(data)
    keep = [
        row["split"] == "train" and Cell.parse(f"{row['pathology']}:{row['modality']}") != CELLS[3]
        for row in table.select(["split", "pathology", "modality"]).to_pylist()
    ]
    kept = table.filter(pa.array(keep))
    labels = kept.select(["pathology", "modality"]).to_pylist()
    cells = [Cell.parse(f"{row['pathology']}:{row['modality']}") for row in labels]
    order = np.array([len(rows) - 1, 0, 5, 5])
    assert len(rows) == len(kept) > 0
    assert rows.counts == {cell: cells.count(cell) for cell in all_cells()}
    np.testing.assert_array_equal(rows.tensor("image", order).numpy(), tensor_numpy(kept["image"])[order])
    np.testing.assert_array_equal(rows.slice_mm, np.asarray(kept["slice_mm"]))
    expected = Conditions.of([cells[row] for row in order], rows.slice_mm[order].tolist())
    torch.testing.assert_close(rows.conditions(order).values, expected.values, rtol=0, atol=0)


def test_a_row_takes_six_bytes_and_four_in_each_of_two_epochs(tmp_path):
    write_data(tmp_path, CELLS[:1], {"train": 1}, num_files=1)
    data = Location.parse(tmp_path / "data")
    [file] = data.files(".parquet")
    labels = read_table(data, ["split", "subject", "pathology", "modality", "slice_mm"])
    write_table(pa.concat_tables([labels] * 30_000).combine_chunks(), file)
    arrow = pa.total_allocated_bytes()
    with tracing() as traced:
        rows = TrainingRows(data, "train", [], tmp_path)
        assert traced() / len(rows) == pytest.approx(2 * 1 + 4, abs=0.5)
        order = rows.order()
        for epoch in range(3):
            order.batch(len(rows), seed=0, step=epoch)
        assert traced() / len(rows) == pytest.approx(2 * 1 + 4 + 2 * 4, abs=0.5)
    assert pa.total_allocated_bytes() <= arrow


@contextlib.contextmanager
def tracing() -> Iterator[Callable[[], int]]:
    """Gives a function that tells the bytes which were allocated within, and not given back."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_split_without_rows_is_empty(data, tmp_path):
    assert len(TrainingRows(data, "test", ["image"], tmp_path)) == 0


def test_images_of_two_sizes_are_refused(data, tmp_path):
    folder = Location.parse(tmp_path / "data")
    folder.upload(Path(data.path))
    write_table(image_schema((16, 16)).empty_table(), folder / "part-99999.parquet")
    with pytest.raises(InputError, match=r"part-99999.parquet holds .*16.*one run has images of one size"):
        TrainingRows(folder, "train", ["image"], tmp_path)


def test_an_empty_folder_names_the_stage_to_run(tmp_path):
    with pytest.raises(InputError, match=r"no Parquet file in .*: run the stage before this one first"):
        TrainingRows(Location.parse(tmp_path / "none"), "train", ["image"], tmp_path)


@pytest.mark.parametrize(("num_rows", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 7)])
def test_rows_that_are_evenly_spaced(num_rows, most):
    rows = evenly_spaced(num_rows, most)
    assert min(num_rows, most // 2 + 1) <= len(rows) <= most
    assert len(set(np.diff(rows))) <= 1
