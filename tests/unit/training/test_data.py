"""The order of training rows, and the rows themselves, against what the Parquet files hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.records import read_table, tensor_numpy
from mrigen.storage import Location
from mrigen.training.data import TrainingRows, batch_rows, step_generator


def test_every_epoch_sees_every_row_once_across_batches():
    rows = [row for step in range(12) for row in batch_rows(20, 5, seed=3, step=step)]
    for epoch in range(3):
        assert sorted(rows[20 * epoch : 20 * epoch + 20]) == list(range(20))
    assert rows[:20] != rows[20:40]


def test_a_batch_larger_than_the_data_repeats_it_evenly():
    counts = Counter(batch_rows(3, 10, seed=0, step=0))
    assert set(counts.values()) <= {3, 4}


def test_the_order_depends_on_the_seed_and_on_nothing_before():
    assert batch_rows(50, 8, seed=1, step=9) == batch_rows(50, 8, seed=1, step=9)
    assert batch_rows(50, 8, seed=1, step=9) != batch_rows(50, 8, seed=2, step=9)


def test_the_random_numbers_of_a_step_are_its_own():
    first = torch.rand(4, generator=step_generator(0, 5))
    assert torch.equal(first, torch.rand(4, generator=step_generator(0, 5)))
    assert not torch.equal(first, torch.rand(4, generator=step_generator(0, 6)))
    assert not torch.equal(first, torch.rand(4, generator=step_generator(1, 5)))


def test_rows_are_those_of_the_split_in_the_files(tiny_run, tmp_path):
    held_out = Cell.parse("Sclerosis:PD")
    rows = TrainingRows(Location.parse(tiny_run / "data"), "train", ["image"], tmp_path, [held_out])
    table = read_table(Location.parse(tiny_run / "data"))
    keep = [
        row["split"] == "train" and (row["pathology"], row["modality"]) != ("Sclerosis", "PD")
        for row in table.select(["split", "pathology", "modality"]).to_pylist()
    ]
    expected = tensor_numpy(table["image"])[keep]
    assert len(rows) == len(expected) > 0
    assert set(rows.cells) == set(all_cells()) - {held_out}
    order = [len(rows) - 1, 0, 5, 5]
    np.testing.assert_array_equal(rows.tensor("image", order).numpy(), expected[order])
    np.testing.assert_array_equal(rows.slice_mm, np.asarray(table["slice_mm"])[keep])


def test_an_empty_folder_names_the_stage_to_run(tmp_path):
    with pytest.raises(InputError, match=r"no Parquet file in .*: run the stage before this one first"):
        TrainingRows(Location.parse(tmp_path / "none"), "train", ["image"], tmp_path)
