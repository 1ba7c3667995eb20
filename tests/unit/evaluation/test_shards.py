from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrigen.errors import InputError
from mrigen.evaluation import planning
from mrigen.evaluation.planning import EvaluationPlan, plan_evaluation
from mrigen.images.index import Group, ImageIndex, index_generated, index_real
from mrigen.labels import Cell
from mrigen.storage import Location
from tests.fake_run import SIZE, sample_row, tiny_config, write_data, write_samples

A, B = Cell.parse("Healthy:T1w"), Cell.parse("Sclerosis:PD")


def planned(run: Path, *overrides: str, networks: Mapping[str, str] = MappingProxyType({})) -> EvaluationPlan:
    generated = index_generated(Location.parse(run / "samples")) if (run / "samples").is_dir() else ImageIndex()
    real = index_real(Location.parse(run / "data"), "test")
    return plan_evaluation(real, generated, tiny_config(*overrides), networks)


def chosen_ids(plan: EvaluationPlan) -> set[tuple[str, str]]:
    return {(row.group, row.id) for shard in plan.shards for row in shard.rows}


def counts(plan: EvaluationPlan) -> Counter[tuple[Group, Cell]]:
    return Counter((row.group, row.cell) for shard in plan.shards for row in shard.rows)


def test_reference_images_are_as_many_as_generated_ones(tmp_path: Path) -> None:
    write_data(tmp_path, [A, B], {"train": 6, "test": 3, "val": 2})
    assert counts(planned(tmp_path)) == {
        (Group.HELD_OUT, A): 9, (Group.HELD_OUT, B): 9, (Group.REFERENCE, A): 9, (Group.REFERENCE, B): 9,
    }  # fmt: skip
    write_samples(tmp_path / "samples", [sample_row(A, i) for i in range(5)])
    assert counts(planned(tmp_path)) == {
        (Group.HELD_OUT, A): 9, (Group.HELD_OUT, B): 9, (Group.REFERENCE, A): 5, (Group.REFERENCE, B): 9,
        (Group.GENERATED, A): 5,
    }  # fmt: skip


def test_the_choice_does_not_depend_on_files_and_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_PER_CELL", 4)
    plans = []
    for number in (1, 3):
        run = tmp_path / str(number)
        write_data(run, [A, B], {"train": 4, "test": 4}, num_files=number)
        samples = [sample_row(cell, i) for cell in (A, B) for i in range(7)]
        write_samples(run / "samples", samples[:: 1 if number == 1 else -1])
        plans.append(planned(run))
    assert chosen_ids(plans[0]) == chosen_ids(plans[1])
    assert max(counts(plans[0]).values()) == 4
    kept = [{row.id for shard in plan.shards for row in shard.rows if row.kept} for plan in plans]
    assert kept[0] == kept[1]


def test_shards_hold_every_chosen_image_once_in_the_order_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 4)
    write_data(tmp_path, [A], {"train": 3, "test": 3})
    plan = planned(tmp_path)
    assert [(shard.group, len(shard.rows)) for shard in plan.shards] == [
        (group, n) for group in (Group.HELD_OUT, Group.REFERENCE) for n in (4, 4, 1)
    ]
    for group in (Group.HELD_OUT, Group.REFERENCE):
        places = [(row.file, row.row) for shard in plan.shards if shard.group == group for row in shard.rows]
        assert places == sorted(set(places))
    for row in plan.shards[1].rows:
        table = pq.read_table(plan.files[row.file].path, columns=["id"])
        assert table["id"][row.row].as_py() == row.id


def test_kept_images_come_from_as_many_subjects_as_possible(tmp_path: Path) -> None:
    write_data(tmp_path, [A], {"train": 1, "test": 6}, slices=9)
    rows = [row for shard in planned(tmp_path, "evaluation.num_pairs=3").shards for row in shard.rows if row.kept]
    assert {row.group for row in rows} == {Group.HELD_OUT}
    assert len(rows) == len({row.owner for row in rows}) == 6


def test_untrained_cells_are_those_that_the_samples_name_else_the_run(tmp_path: Path) -> None:
    write_data(tmp_path, [A, B], {"train": 2, "test": 2})
    held_out = f"held_out_cells=['{B}']"
    assert A not in planned(tmp_path, held_out).untrained
    assert B in planned(tmp_path, held_out).untrained
    assert B not in planned(tmp_path).untrained
    assert Cell.parse("Dementia:T2w") in planned(tmp_path).untrained  # no training image
    write_samples(tmp_path / "samples", [sample_row(A, 0, trained=False), sample_row(A, 1), sample_row(B, 0)])
    assert A in planned(tmp_path, held_out).untrained
    assert B not in planned(tmp_path, held_out).untrained


def keys(plan: EvaluationPlan, *groups: Group) -> list[str]:
    return [shard.key for shard in plan.shards if shard.group in groups]


def test_a_key_names_all_that_a_part_depends_on(tmp_path: Path) -> None:
    write_data(tmp_path, [A], {"train": 2, "test": 2})
    before = keys(planned(tmp_path, networks={"autoencoder": "a"}), *Group)
    assert keys(planned(tmp_path, networks={"autoencoder": "a"}), *Group) == before
    others = [
        planned(tmp_path, networks={"autoencoder": "b"}),
        planned(tmp_path, networks={"autoencoder": "a", "mri": "a"}),
        planned(tmp_path, "evaluation.feature_size=40", networks={"autoencoder": "a"}),
    ]
    assert not any(set(keys(other, *Group)) & set(before) for other in others)
    write_data(tmp_path, [A], {"train": 2, "test": 2}, slices=2)  # other images of the same names
    assert not set(keys(planned(tmp_path, networks={"autoencoder": "a"}), *Group)) & set(before)


def test_parts_of_real_images_serve_other_samples_too(tmp_path: Path) -> None:
    write_data(tmp_path, [A], {"train": 4, "test": 2})
    plans = []
    for number in range(2):
        write_samples(tmp_path / "samples", [sample_row(A, number * 10 + i) for i in range(5)])
        plans.append(planned(tmp_path))
    real = Group.HELD_OUT, Group.REFERENCE
    assert keys(plans[0], *real) == keys(plans[1], *real)
    assert keys(plans[0], Group.GENERATED) != keys(plans[1], Group.GENERATED)
    assert plans[0].held_out == plans[1].held_out


def test_features_of_a_network_that_is_not_there_are_not_taken(tmp_path: Path) -> None:
    write_data(tmp_path, [A], {"train": 2, "test": 2})
    assert planned(tmp_path, networks={"mri": "a"}).extractors == ("efficientnet-lite0", "mri")
    assert planned(tmp_path).extractors == ("efficientnet-lite0",)
    with_one = planned(tmp_path, networks={"autoencoder": "a"})
    assert with_one.extractors == ("efficientnet-lite0", "autoencoder")
    other = planned(tmp_path, networks={"autoencoder": "b"}).identities
    assert other["autoencoder"] != with_one.identities["autoencoder"]
    assert other["efficientnet-lite0"] == with_one.identities["efficientnet-lite0"]


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Parquet file in .*data: run `mrigen prepare`"):
        planned(tmp_path)
    write_data(tmp_path, [A], {"train": 2, "test": 2}, num_files=1)
    write_samples(tmp_path / "samples", [sample_row(A, 0), sample_row(A, 0)])
    with pytest.raises(InputError, match="HealthyT1w00000' twice"):
        planned(tmp_path)
    file = tmp_path / "samples" / "manifest" / "shard-000000.parquet"
    pq.write_table(pa.table({"id": ["a"]}), file)
    with pytest.raises(InputError, match=r"shard-000000.parquet lacks the column 'file_sha256'"):
        planned(tmp_path)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        planned(tmp_path)


def test_data_that_prepare_did_not_leave_so_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path, [A], {"train": 2, "test": 2})
    data, mark = Location.parse(tmp_path / "data"), tmp_path / "data" / "_SUCCESS.json"
    first = tmp_path / "data" / "part-00000.parquet"

    whole = first.read_bytes()
    pq.write_table(pq.read_table(first).slice(0, 3), first)
    with pytest.raises(InputError, match=r"part-00000.parquet is not as `mrigen prepare` left it: delete it and"):
        index_real(data, "test")
    first.unlink()
    with pytest.raises(
        InputError, match=r"lacks 1 of 2 files, such as part-00000.parquet: run `mrigen prepare` again$"
    ):
        index_real(data, "test")
    first.write_bytes(whole)
    (tmp_path / "data" / "part-00009.parquet").write_bytes(whole)
    with pytest.raises(InputError, match=r"part-00009.parquet is not from `mrigen prepare`: take it away$"):
        index_real(data, "test")
    (tmp_path / "data" / "part-00009.parquet").unlink()
    assert len(index_real(data, "test").rows) == 12
    for content, told in (("{", "is not JSON"), ("{}", "does not list"), ("[]", "does not list")):
        mark.write_text(content)
        with pytest.raises(InputError, match=told):
            index_real(data, "test")
    mark.unlink()
    with pytest.raises(InputError, match=r"data is missing or unfinished: run `mrigen prepare` to its end first$"):
        index_real(data, "test")


def test_images_of_another_type_are_refused(tmp_path: Path) -> None:
    write_samples(tmp_path, [sample_row(A, 0)])
    [file] = (tmp_path / "manifest").iterdir()
    table = pq.read_table(file)
    levels = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, SIZE, SIZE), np.uint8))
    pq.write_table(table.set_column(table.schema.get_field_index("image"), "image", levels), file)
    with pytest.raises(InputError, match=r"images are of type uint8, not float16: it is not from `mrigen generate`$"):
        index_generated(Location.parse(tmp_path))


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write_data(tmp_path, [A], {"train": 2, "test": 2})
    real = index_real(Location.parse(tmp_path / "data"), "test")
    other = ImageIndex(shape=(SIZE * 2, SIZE * 2))
    with pytest.raises(InputError, match=r"\[64, 64\] and the real ones \[32, 32\]"):
        plan_evaluation(real, other, tiny_config(), {})
    with pytest.raises(InputError, match="images of 8 pixels are too small"):
        plan_evaluation(replace(real, shape=(8, 8)), ImageIndex(), tiny_config(), {})


def test_provenance_lists_what_occurs(tmp_path: Path) -> None:
    rows = [sample_row(A, 0), {**sample_row(A, 1), "num_steps": 7, "guidance_scale": np.float32(2.2)}]
    write_samples(tmp_path, rows)
    index = index_generated(Location.parse(tmp_path))
    assert index.provenance == {
        "model_sha256": ["ab" * 32], "solver": ["ddim"], "num_steps": [3, 7], "guidance_scale": [2.0, 2.2],
        "pathology_scale": [0.0], "modality_scale": [0.0], "guidance_interval": [(0.0, 1.0)], "compute_batch": [8],
        "precision": ["fp32"],
        "guide": ["cfg"],
    }  # fmt: skip
    [file] = (tmp_path / "manifest").iterdir()
    table = pq.read_table(file)  # of a version that had fewer settings
    pq.write_table(table.drop_columns(["pathology_scale", "guidance_interval"]), file)
    assert set(index.provenance) - set(index_generated(Location.parse(tmp_path)).provenance) == {
        "pathology_scale", "guidance_interval",
    }  # fmt: skip
