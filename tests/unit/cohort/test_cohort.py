"""Bulk generation without Ray: the plan, its shards, and that every row is there once, with the same bytes."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from mrigen.cohort.closing import Rejections, close_cohort, size_class
from mrigen.cohort.estimate import estimated, typical_rows
from mrigen.cohort.order import Kind
from mrigen.cohort.plan import CohortPlan, planned, write_plan
from mrigen.cohort.shard import make_shard, missing_shards
from mrigen.config import SamplerConfig
from mrigen.errors import InputError
from mrigen.images.index import index_generated
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.pipeline import Pipeline
from mrigen.samples import sample_seed
from mrigen.storage import Location
from tests.command import hashes


@pytest.fixture(scope="module")
def pipeline(tiny_run) -> Pipeline:
    return Pipeline.load(tiny_run / "model")


def empty_plan(pipeline: Pipeline, seed: int = 0, formats: tuple[str, ...] = ("bids",)) -> CohortPlan:
    sampler = pipeline.config.sampler.model_copy(update={"pathology_scale": 0.5})
    return CohortPlan(pipeline.model_sha256, seed, sampler, formats=formats, redraws=0)


def each_cell(count: int) -> dict[Kind, int]:
    return {Kind(cell): count for cell in all_cells()}


def fill(plan: CohortPlan, pipeline: Pipeline, folder: Path, shards: list[int]) -> Location:
    location = Location.parse(folder)
    for shard in shards:
        make_shard(pipeline, plan, shard, location)
    return location


def close(plan: CohortPlan, pipeline: Pipeline, location: Location) -> None:
    close_cohort(plan, replace(pipeline.model, training_sources=("clinic",)), location, Rejections())


def test_a_plan_lists_every_sample_once(pipeline):
    plan = empty_plan(pipeline).grown(each_cell(5), 7)
    rows = [row for shard in range(plan.num_shards) for row in plan.shard(shard)]
    assert len(rows) == plan.num_samples == 100
    assert plan.num_shards == 15
    assert len({row.id for row in rows}) == 100
    assert rows[13].shard == 1
    assert plan.request(rows[13]).seed == sample_seed(0, Cell.parse("Healthy:T2w"), 3)
    assert CohortPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_plan_grows_by_shards_of_its_own(pipeline):
    few = empty_plan(pipeline).grown({Kind(Cell.parse("MS:PD")): 9}, 4)
    asked = {Kind(Cell.parse("HC:T1")): 3, Kind(Cell.parse("MS:PD")): 11, Kind(Cell.parse("MS:PD"), -5.25): 2}
    many = few.grown(asked, 5)
    assert [many.shard(number) for number in range(3)] == [few.shard(number) for number in range(3)]
    new = [row for number in range(3, many.num_shards) for row in many.shard(number)]
    assert [row.id for row in new] == [
        *(f"HealthyT1w000000{index}" for index in range(3)),
        *(f"SclerosisPD{index:07d}" for index in (9, 10)),
        *(f"SclerosisPDhm5p25s000000{index}" for index in range(2)),
    ]
    assert many.request(new[0]).seed == sample_seed(0, Cell.parse("HC:T1"), 0)
    assert many.quotas == asked
    assert many.grown(asked, 64) == many
    assert many.first_shards(2) == [0, 3]
    with pytest.raises(InputError, match="it has 11 samples of Sclerosis:PD, and 0 are asked for"):
        many.grown({Kind(Cell.parse("HC:T1")): 4}, 5)


def test_a_plan_of_millions_is_as_small_as_one_of_few(pipeline):
    plan = empty_plan(pipeline).grown(each_cell(10**6), 64)
    assert plan.num_samples == 20 * 10**6
    assert len(json.dumps(plan.to_json())) < 2_000
    assert plan.shard(plan.num_shards - 1)[-1].id == "DementiaPD0999999"


def test_order_repeats_and_restarts_leave_the_same_bytes(pipeline, tmp_path):
    plan = empty_plan(pipeline, formats=("bids", "webdataset")).grown(each_cell(2), 7)
    straight = fill(plan, pipeline, tmp_path / "a", [0, 1, 2, 3, 4, 5])
    crooked = fill(plan, pipeline, tmp_path / "b", [5, 3, 1, 3])
    # As a kill leaves it: a shard with its images but no manifest, others with a damaged image, sidecar or archive.
    (tmp_path / "b/manifest/shard-000003.parquet").unlink()
    for folder, name in (("sub-HealthyFLAIR0000001/anat", "*.nii.gz"), ("sub-HealthyPD0000000/anat", "*.json")):
        [damaged] = (tmp_path / "b" / folder).glob(name)
        damaged.write_bytes(damaged.read_bytes()[:-1])
    (tmp_path / "b/webdataset/shard-000001.tar").unlink()
    (tmp_path / "b/manifest/shard-000005.parquet").write_bytes(b"half a file")
    fill(plan, pipeline, tmp_path / "b", [0, 1, 2, 3, 4, 5])
    close(plan, pipeline, straight)
    close(plan, pipeline, crooked)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_files_are_written_side_by_side_and_the_manifest_once_all_stand(pipeline, tmp_path, monkeypatch):
    plan, folder = empty_plan(pipeline).grown(each_cell(1), 4), Location.parse(tmp_path)
    two, write = threading.Barrier(2, timeout=20.0), Location.write_bytes

    def written(file: Location, data: bytes) -> None:
        if file.parent.name != "manifest":
            two.wait()  # breaks unless another file is written, too
            time.sleep(0.1)
        elif len(folder.files()) < 8:
            raise AssertionError("the manifest came before the files that it tells of")
        if file.name == broken:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, data)

    monkeypatch.setattr(Location, "write_bytes", written)
    broken = "sub-HealthyT1w0000000_desc-synth_T1w.json"
    with pytest.raises(OSError, match="No space left"):
        make_shard(pipeline, plan, 0, folder)
    assert len(folder.files()) == 7
    broken = ""
    make_shard(pipeline, plan, 0, folder)
    assert len(folder.files()) == 9


def test_files_read_back_as_the_manifest_says(pipeline, tmp_path):
    plan = empty_plan(pipeline, formats=("bids", "huggingface", "previews", "webdataset")).grown(each_cell(1), 7)
    close(plan, pipeline, fill(plan, pipeline, tmp_path / "out", list(range(3))))
    table = pq.read_table(tmp_path / "out" / "manifest")
    assert table.num_rows == 20
    images = table["image"].combine_chunks().to_numpy_ndarray()
    packed = {}
    for archive in sorted((tmp_path / "out/webdataset").iterdir()):
        with tarfile.open(archive) as tar:
            packed.update({member.name: tar.extractfile(member).read() for member in tar})
    nested = {row["id"]: row for row in pq.read_table(tmp_path / "out/huggingface").to_pylist()}
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
        assert np.array_equal(nested[row["id"]]["image"], image)
        assert nested[row["id"]]["seed"] == row["seed"]
        with Image.open(tmp_path / f"out/previews/{row['id']}.png") as preview:
            assert np.abs(np.asarray(preview, float)[::-1].T / 127.5 - 1 - np.clip(image, -1, 1)).max() < 0.006
            assert json.loads(preview.text["mrigen"]) == sidecar["Provenance"]
            assert preview.text["Description"].startswith("Synthetic brain MRI")
        assert np.array_equal(np.load(io.BytesIO(packed[f"{row['id']}.npy"])), image)
        assert json.loads(packed[f"{row['id']}.json"]) == {"id": row["id"], **sidecar["Provenance"]}
    assert len(packed) == 40
    card = (tmp_path / "out" / "README.md").read_text()
    assert "never seen in training, composed from the labels alone: Sclerosis:PD." in card
    assert "This one was trained on images from clinic.\nLicences of the training images: CC0 1.0.\n" in card
    for name in SamplerConfig.model_fields:
        assert name in table.column_names
        assert name.replace("_", " ") in card
    assert "pathology scale 0.5" in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "huggingface/*.parquet"}]
    described = json.loads((tmp_path / "out/croissant.json").read_text())
    columns = [field["source"]["extract"]["column"] for field in described["recordSet"][0]["field"]]
    assert set(columns) <= set(table.column_names)


def test_load_dataset_reads_a_data_set_offline(pipeline, tmp_path):
    datasets = pytest.importorskip("datasets")
    plan = empty_plan(pipeline, formats=("huggingface",)).grown({Kind(Cell.parse("GBM:FLAIR")): 3}, 2)
    close(plan, pipeline, fill(plan, pipeline, tmp_path / "out", [0, 1]))
    read = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    table = pq.read_table(tmp_path / "out/manifest")
    images = table["image"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(np.stack(read.with_format("numpy")["image"]), images)
    for name in ("id", "pathology", "modality", "seed"):
        assert list(read[name]) == table[name].to_pylist()


class Faulty:
    """A pipeline whose every drawing with an even seed, in some modalities, has a pixel that is no number."""

    def __init__(self, pipeline: Pipeline, modalities=tuple(Modality)) -> None:
        self.pipeline, self.model = pipeline, replace(pipeline.model, image_limits={})
        self.modalities = modalities

    def sample(self, requests):
        samples = self.pipeline.sample(requests)
        for sample in samples:
            if sample.request.seed % 2 == 0 and sample.request.cell.modality in self.modalities:
                sample.image[3, 4] = np.nan
        return samples


def test_an_estimate_takes_drawings_that_would_be_rejected_and_persons_whole(pipeline, tmp_path):
    plan = replace(empty_plan(pipeline), redraws=1, modalities=(Modality.T1W, Modality.PD))
    persons = {Kind(Cell(Pathology.HEALTHY, modality)): 30 for modality in plan.modalities}
    plan, out = plan.grown(persons, 6), Location.parse(tmp_path)
    missing = missing_shards(plan, out)
    rows = typical_rows(plan, missing)
    assert len(rows) == pipeline.config.sampler.compute_batch == 8
    assert [(row.shard, row.index) for row in rows[::2]] == [(0, 0), (2, 6), (5, 15), (7, 21)]
    assert [row.subject for row in rows[::2]] == [row.subject for row in rows[1::2]]
    estimate = estimated(Faulty(pipeline), plan, missing, out)
    assert estimate.num_samples == 60
    assert estimate.files == (8 * 2 + 8 / 6 + 4 * 2) / 8  # images, sidecars, parts of the manifest, folders
    assert typical_rows(plan, []) == typical_rows(plan, [0]) == plan.shard(0)


def test_rejected_drawings_are_drawn_anew_by_seeds_of_their_own(pipeline, tmp_path):
    plan = replace(empty_plan(pipeline), redraws=1).grown({Kind(cell): 4 for cell in all_cells()[:4]}, 8)
    reports = [make_shard(Faulty(pipeline), plan, shard, Location.parse(tmp_path / "a")) for shard in (0, 1)]
    again = [make_shard(Faulty(pipeline), plan, shard, Location.parse(tmp_path / "b")) for shard in (1, 0)]
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert [make_shard(Faulty(pipeline), plan, 1, Location.parse(tmp_path / "a"))] == reports[1:] == again[:1]

    rows = {row.id: row for shard in (0, 1) for row in plan.shard(shard)}
    seeds = {name: [plan.request(row, redraw).seed for redraw in (0, 1)] for name, row in rows.items()}
    first_odd = {name: next((seed for seed in both if seed % 2), None) for name, both in seeds.items()}
    table = pq.read_table(tmp_path / "a/manifest", columns=["id", "seed"]).to_pylist()
    assert {row["id"]: row["seed"] for row in table} == {name: seed for name, seed in first_odd.items() if seed}
    left_out = {name for name, seed in first_odd.items() if seed is None}
    assert left_out == {name for report in reports for name in report.left_out} != set()
    told = pq.read_table(tmp_path / "a/rejected").to_pylist()
    even = [
        (name, redraw)
        for name, both in seeds.items()
        for redraw in (0, 1)
        if not any(s % 2 for s in both[: redraw + 1])
    ]
    assert sorted((row["id"], row["redraw"]) for row in told) == sorted(even)
    assert {row["reason"] for row in told} == {"not finite"}
    assert all(row["seed"] == seeds[row["id"]][row["redraw"]] for row in told)

    out = Location.parse(tmp_path / "a")
    rejections = Rejections({"not finite": len(told)}, frozenset(left_out))
    close_cohort(plan, pipeline.model, out, rejections)
    listed = (tmp_path / "a/participants.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[0] for line in listed] == [f"sub-{name}" for name in rows if name not in left_out]
    closed = json.loads((tmp_path / "a/_SUCCESS.json").read_text())
    assert closed["num_samples"] == sum(closed["cells"].values()) == 16 - len(left_out)
    assert f"{len(told)} drawings could be no scan" in (tmp_path / "a/README.md").read_text()


def test_a_person_in_several_modalities_has_one_seed_one_slice_and_one_shard(pipeline, tmp_path):
    shown = (Modality.T1W, Modality.T2W, Modality.FLAIR)

    def asked(healthy: int, ill: int) -> dict[Kind, int]:
        numbers = {Pathology.HEALTHY: healthy, Pathology.SCLEROSIS: ill}
        return {Kind(Cell(pathology, modality)): n for pathology, n in numbers.items() for modality in shown}

    few = replace(empty_plan(pipeline), modalities=shown, redraws=9).grown(asked(3, 2), 7)
    assert [len(few.shard(number)) for number in range(few.num_shards)] == [6, 6, 3]
    assert few.first_shards(1) == [0, 1]
    assert CohortPlan.from_json(json.loads(json.dumps(few.to_json()))) == few
    plan = few.grown(asked(4, 2), 7)
    assert [plan.shard(number) for number in range(3)] == [few.shard(number) for number in range(3)]
    out = Location.parse(tmp_path)
    for shard in range(plan.num_shards):
        make_shard(Faulty(pipeline, [Modality.FLAIR]), plan, shard, out)  # with the FLAIR the others are drawn anew
    close(plan, pipeline, out)
    facts: dict[str, list[tuple[str, int, float, int]]] = {}
    for row in pq.read_table(tmp_path / "manifest").to_pylist():
        facts.setdefault(row["path"].split("/")[0], []).append(
            (row["modality"], row["seed"], row["slice_mm"], row["shard"])
        )
    assert [[name for name, *_ in person] for person in facts.values()] == [list(shown)] * 6
    assert all(len({one[1:] for one in person}) == 1 for person in facts.values())
    seeds = {person[0][1] for person in facts.values()}
    assert len(seeds) == 6
    assert all(seed % 2 for seed in seeds)
    assert len({row.owner for row in index_generated(out).rows}) == 6  # whose images are no independent ones
    told = [line.split("\t") for line in (tmp_path / "participants.tsv").read_text().splitlines()[1:]]
    assert [line[0] for line in told] == list(facts)
    assert told[0] == ["sub-Healthy0000000", "Healthy", "T1w,T2w,FLAIR", "true"]


def test_a_model_that_draws_no_scan_at_all_is_refused(pipeline, tmp_path):
    plan = replace(empty_plan(pipeline), redraws=3).grown({Kind(Cell.parse("HC:T1")): 3}, 9)
    limits = {modality: {"area": (2.0, 3.0)} for modality in Modality}
    pipeline = Pipeline(replace(pipeline.model, image_limits=limits))
    with pytest.raises(InputError, match=r"^all drawings of shard 0 were rejected: 12 area; train the model longer"):
        make_shard(pipeline, plan, 0, Location.parse(tmp_path))


def test_a_folder_of_another_plan_or_of_other_files_is_refused(pipeline, tmp_path):
    out, asked = Location.parse(tmp_path / "out"), each_cell(2)
    write_plan(planned(empty_plan(pipeline), asked, 7, out), out)
    with pytest.raises(InputError, match=r"out holds a data set of another plan \(seed was 0, is 1\): use another"):
        planned(empty_plan(pipeline, seed=1), asked, 7, out)
    with pytest.raises(
        InputError, match=r"it has 2 samples of Healthy:T1w, and 1 are asked for: a data set only grows"
    ):
        planned(empty_plan(pipeline), each_cell(1), 7, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"mine is not empty and holds no plan.json"):
        planned(empty_plan(pipeline), asked, 7, Location.parse(tmp_path / "mine"))


def test_a_cohort_with_a_shard_missing_is_not_closed(pipeline, tmp_path):
    plan = empty_plan(pipeline).grown(each_cell(2), 7)
    location = fill(plan, pipeline, tmp_path / "out", [0, 1, 2])
    with pytest.raises(RuntimeError, match=r"shard-000003.parquet is missing"):
        close(plan, pipeline, location)
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()


@pytest.mark.parametrize(
    ("count", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (2_000_000, "1M<n<10M")]
)
def test_the_card_tells_the_size_as_hubs_read_it(count, size):
    assert size_class(count) == size
