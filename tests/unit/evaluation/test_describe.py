from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrigen.evaluation import planning
from mrigen.evaluation.shard_files import SHARD_SCHEMA, ShardFiles
from mrigen.features.networks import find_autoencoder
from mrigen.labels import Cell
from mrigen.records import write_table
from mrigen.storage import Location
from tests.fake_run import sample_row, tiny_config, write_autoencoder, write_data, write_samples
from tests.unit.evaluation.described import plan_of

CELL = Cell.parse("Healthy:T1w")
CONFIG = tiny_config("evaluation.extractors=[efficientnet-lite0]")


def test_files_are_checked_before_they_count_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 8)
    write_data(tmp_path, [CELL], {"train": 3, "test": 3})
    write_samples(tmp_path / "samples", [sample_row(CELL, i) for i in range(9)])
    plan = plan_of(tmp_path, CONFIG)
    files = ShardFiles(Location.parse(tmp_path / "real"), Location.parse(tmp_path / "generated"))
    assert files.place_of(plan.shards[0]).path.startswith(str(tmp_path / "real"))
    assert files.place_of(plan.shards[-1]).path.startswith(str(tmp_path / "generated"))
    first, second = plan.shards[:2]
    file, table = files.place_of(first), pa.Table.from_pylist([{"id": row.id} for row in first.rows], SHARD_SCHEMA)
    assert not files.holds(first)
    write_table(table, file)
    assert files.holds(first)
    whole = file.read_bytes()
    files.place_of(second).write_bytes(whole)
    assert not files.holds(second)
    num_refused = 0
    for position in range(100, len(whole), len(whole) // 20):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        file.write_bytes(bytes(damaged))
        refused = not files.holds(first)
        num_refused += refused
        assert refused or pq.read_table(file.path).equals(table)  # a byte that nothing reads
    assert num_refused > 5
    file.write_bytes(whole[: len(whole) // 2])
    assert not files.holds(first)


def test_the_finished_models_autoencoder_goes_first(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    assert find_autoencoder(run) is None
    write_autoencoder(tmp_path / "vae", CONFIG)
    write_autoencoder(tmp_path / "model" / "vae", CONFIG)
    assert find_autoencoder(run) == run / "vae"
    (tmp_path / "model" / "SHA256SUMS").write_text("")
    assert find_autoencoder(run) == run / "model" / "vae"
