from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from mrigen.errors import InputError
from mrigen.evaluation import planning
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.features.inception import InceptionV3
from mrigen.features.networks import find_autoencoder
from mrigen.features.pretrained import load_pretrained
from mrigen.images.index import Group
from mrigen.labels import Cell
from mrigen.storage import Location
from tests.fake_run import made_up_image, sample_row, tiny_config, write_autoencoder, write_data, write_samples
from tests.unit.evaluation.described import plan_of, tables_of

CELL = Cell.parse("Healthy:T1w")
CONFIG = tiny_config("evaluation.extractors=[efficientnet-lite0]")


def test_files_are_checked_before_they_count_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 8)
    write_data(tmp_path, [CELL], {"train": 3, "test": 3})
    write_samples(tmp_path / "samples", [sample_row(CELL, i) for i in range(9)])
    plan = plan_of(tmp_path, CONFIG)
    tables = tables_of(tmp_path, plan, CONFIG)
    files = ShardFiles(Location.parse(tmp_path / "real"), Location.parse(tmp_path / "generated"))
    first, second = plan.shards[:2]
    file = files.place_of(first)
    assert not files.holds(first)
    files.write(first, tables[0])
    assert files.holds(first)
    files.place_of(second).write_bytes(file.read_bytes())
    assert not files.holds(second)
    whole = file.read_bytes()
    num_refused = 0
    for position in range(100, len(whole), len(whole) // 20):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        file.write_bytes(bytes(damaged))
        refused = not files.holds(first)
        num_refused += refused
        assert refused or pq.read_table(file.path).equals(tables[0])  # a byte that nothing reads
    assert num_refused > 5
    file.write_bytes(whole[: len(whole) // 2])
    assert not files.holds(first)
    for shard, table in zip(plan.shards, tables, strict=True):
        files.write(shard, table)
    assert [table.num_rows for table in files.read(plan.shards)] == [len(shard.rows) for shard in plan.shards]
    num_generated = sum(shard.group == Group.GENERATED for shard in plan.shards)
    assert len(list((tmp_path / "generated").iterdir())) == num_generated == 2


def test_the_finished_models_autoencoder_goes_first(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    assert find_autoencoder(run) is None
    write_autoencoder(tmp_path / "vae", CONFIG)
    write_autoencoder(tmp_path / "model" / "vae", CONFIG)
    assert find_autoencoder(run) == run / "vae"
    (tmp_path / "model" / "SHA256SUMS").write_text("")
    assert find_autoencoder(run) == run / "model" / "vae"


def test_the_user_may_bring_a_network(tmp_path: Path) -> None:
    weights = tmp_path / "inception.safetensors"
    torch.manual_seed(0)
    save_file(InceptionV3().state_dict(), weights)
    write_data(tmp_path, [CELL], {"train": 1, "test": 1}, slices=1)
    config = tiny_config("evaluation.extractors=[inception]", f"evaluation.weights.inception={weights}")
    plan = plan_of(tmp_path, config)
    assert plan.extractors == ("inception",)
    table = tables_of(tmp_path, plan, config)[0]
    image = torch.from_numpy(made_up_image("real", table["id"][0].as_py()))[None, None].half().float()
    features = np.frombuffer(table["features"][0].as_py()[0], np.float32)
    expected = load_pretrained("inception", Location.parse(weights))(image)[0].numpy()
    assert features == pytest.approx(expected, rel=1e-4, abs=1e-6)

    save_file({**InceptionV3().state_dict()}, weights)  # other weights of the same name
    assert plan_of(tmp_path, config).identities != plan.identities
    assert {shard.key for shard in plan_of(tmp_path, config).shards}.isdisjoint(shard.key for shard in plan.shards)
    weights.unlink()
    with pytest.raises(InputError, match=r"inception\.safetensors"):
        plan_of(tmp_path, config)
