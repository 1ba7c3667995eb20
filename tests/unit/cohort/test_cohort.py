"""Bulk generation without Ray: the plan, its shards, and that every row is there once, with the same bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from mrigen.cohort.closing import close_cohort
from mrigen.cohort.plan import CohortPlan, read_shard, write_plan
from mrigen.cohort.shard import make_shard
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, all_cells
from mrigen.pipeline import Pipeline
from mrigen.sampling import sample_seed
from mrigen.storage import Location


@pytest.fixture(scope="module")
def pipeline(tiny_run) -> Pipeline:
    return Pipeline.load(tiny_run / "model")


def plan_of(pipeline: Pipeline, per_cell: int = 2, shard_size: int = 7, seed: int = 0) -> CohortPlan:
    sampler = pipeline.config.sampler.model_copy(update={"pathology_scale": 0.5})
    return CohortPlan(pipeline.model_sha256, tuple(all_cells()), per_cell, seed, sampler, None, shard_size)


def fill(plan: CohortPlan, pipeline: Pipeline, folder: Path, shards: list[int]) -> Location:
    location = Location.parse(folder)
    write_plan(plan, location)
    for shard in shards:
        make_shard(pipeline, read_shard(location, shard), plan.sampler, plan.slice_mm, location)
    return location


def close(plan: CohortPlan, pipeline: Pipeline, location: Location) -> dict[Cell, int]:
    return close_cohort(plan, {cell: pipeline.is_trained(cell) for cell in all_cells()}, location, "axial", ["clinic"])


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_plan_lists_every_sample_once(pipeline):
    plan = plan_of(pipeline, per_cell=5, shard_size=7)
    rows = [row for table in plan.shards() for row in table.to_pylist()]
    assert len(rows) == plan.num_samples == 100
    assert plan.num_shards == 15
    assert len({row["id"] for row in rows}) == 100
    assert rows[13]["shard"] == 1
    assert rows[13]["seed"] == sample_seed(0, Cell.parse("Healthy:T2w"), 3)


def test_more_samples_leave_the_first_ones_as_they_were(pipeline):
    few = {row["id"]: row["seed"] for t in plan_of(pipeline, 2).shards() for row in t.to_pylist()}
    many = {row["id"]: row["seed"] for t in plan_of(pipeline, 5).shards() for row in t.to_pylist()}
    assert few.items() <= many.items()


def test_order_repeats_and_restarts_leave_the_same_bytes(pipeline, tmp_path):
    plan = plan_of(pipeline)
    straight = fill(plan, pipeline, tmp_path / "a", [0, 1, 2, 3, 4, 5])
    crooked = fill(plan, pipeline, tmp_path / "b", [5, 3, 1, 3])
    # As a kill leaves it: a shard with its images but no manifest, and one whose image is damaged.
    (tmp_path / "b/manifest/shard-000003.parquet").unlink()
    damaged = next((tmp_path / "b/sub-HealthyFLAIR0000001/anat").glob("*.nii.gz"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "b/manifest/shard-000005.parquet").write_bytes(b"half a file")
    fill(plan, pipeline, tmp_path / "b", [0, 1, 2, 3, 4, 5])
    close(plan, pipeline, straight)
    close(plan, pipeline, crooked)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_files_read_back_as_the_manifest_says(pipeline, tmp_path):
    plan = plan_of(pipeline, per_cell=1)
    location = fill(plan, pipeline, tmp_path / "out", list(range(3)))
    counts = close(plan, pipeline, location)
    assert counts == dict.fromkeys(all_cells(), 1)
    table = pq.read_table(tmp_path / "out" / "manifest")
    assert table.num_rows == 20
    images = table["image"].combine_chunks().to_numpy_ndarray()
    for row, image in zip(table.drop_columns("image").to_pylist(), images, strict=True):
        file = tmp_path / "out" / row["path"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["file_sha256"]
        scan = nibabel.load(file)
        np.testing.assert_allclose(scan.get_fdata()[..., 0] / 500 - 1, np.clip(image, -1, 1), atol=2e-3)
        assert b"synthetic" in scan.header["descrip"].tobytes()
        sidecar = json.loads(Path(str(file).removesuffix(".nii.gz") + ".json").read_text())
        assert sidecar["Provenance"]["seed"] == row["seed"]
        assert "SkullStripped" not in sidecar  # heads were kept, as they were
        assert row["trained_cell"] == (f"{row['pathology']}:{row['modality']}" != "Sclerosis:PD")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "never seen in training, composed from the labels alone: Sclerosis:PD." in card
    assert "This one was trained on images from clinic." in card
    for name in SamplerConfig.model_fields:
        assert name in table.column_names
        assert name.replace("_", " ") in card
    assert "pathology scale 0.5" in card


def test_a_folder_of_another_plan_or_of_other_files_is_refused(pipeline, tmp_path):
    fill(plan_of(pipeline), pipeline, tmp_path / "out", [])
    with pytest.raises(InputError, match=r"out holds a data set of another plan .* use another folder for --out"):
        fill(plan_of(pipeline, seed=1), pipeline, tmp_path / "out", [])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"mine is not empty and holds no plan.parquet"):
        fill(plan_of(pipeline), pipeline, tmp_path / "mine", [])


def test_a_cohort_with_a_shard_missing_is_not_closed(pipeline, tmp_path):
    plan = plan_of(pipeline)
    location = fill(plan, pipeline, tmp_path / "out", [0, 1, 2])
    with pytest.raises(FileNotFoundError):
        close(plan, pipeline, location)
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()
