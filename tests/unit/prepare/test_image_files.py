"""Parts of `data/`: what is in them, and that they are made whole, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from mrigen.config import DataConfig, load_config
from mrigen.labels import Modality
from mrigen.prepare import image_files
from mrigen.prepare.image_files import make_image_file
from mrigen.preprocess.following import T1wHead
from mrigen.preprocess.foreground import Mask
from mrigen.preprocess.sampling import scan_images, slice_heights
from mrigen.records import image_schema, tensor_numpy, unpack_mask
from mrigen.sources.reading import hash_scan
from mrigen.sources.scans import Scan, drop_unusable
from mrigen.storage import Location
from mrigen.volume import Volume, VolumeError, nifti_bytes
from tests.fake_scans import made_up_scan, scan_at, write_scan

DATA = load_config("tiny").data.model_copy(update={"image_size": 32, "spacing_mm": 6.0})
SPLIT = {"a": "train", "b": "test", "t": "val", "c": "val"}


@pytest.fixture
def source(tmp_path: Path) -> Location:
    """A folder of two good scans and three bad ones."""
    folder = tmp_path / "scans"
    write_scan(folder / "a.nii.gz", 1)
    write_scan(folder / "b.nii.gz", 2, stripped=False)
    (folder / "text.nii.gz").write_bytes(b"hello")
    (folder / "cut.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:2000])
    return Location.parse(folder)


def work(source: Location, *names: str) -> dict[Scan, str]:
    scans = [scan_at(Path(source.path) / name, subject=name[0], split=SPLIT[name[0]]) for name in names]
    return drop_unusable(scans, [hash_scan(one, source) for one in scans])[0]


def test_a_part_holds_the_images_of_its_scans(tmp_path: Path, source: Location) -> None:
    run = Location.parse(tmp_path / "run")
    scans = work(source, "a.nii.gz", "b.nii.gz")
    report = make_image_file(run, DATA, [source], scans)
    table = pq.read_table(Path(run.path) / "data" / report["file"])
    assert table.schema == image_schema([32, 32])
    rows: list[dict[str, Any]] = table.drop_columns("image").to_pylist()
    heights = {subject: slice_heights(DATA, subject) for subject in "ab"}
    assert [(row["subject"], row["slice_mm"]) for row in rows] == [
        (subject, pytest.approx(height)) for subject in "ab" for height in heights[subject]
    ]
    assert len({row["id"] for row in rows}) == len(rows)
    digests = {s.subject: digest for s, digest in scans.items()}
    for row in rows:
        assert row["sha256"] == digests[row["subject"]]
        assert row["id"].startswith(row["sha256"][:24])
        assert row["split"] == SPLIT[row["subject"]]
        assert (row["pathology"], row["modality"], row["licence"]) == ("Sclerosis", "T1w", "CC0")
        assert row["affine"][11] == pytest.approx(row["slice_mm"], abs=4.1)
    expected = np.stack([image.image for image in scan_images(made_up_scan(1), DATA, subject="a")])
    stored = tensor_numpy(table["image"])[: len(expected)]
    assert np.median(np.abs(stored - expected)) < 0.01  # voxels were rounded to whole numbers, pixels to float16
    assert report["cells"] == {"Sclerosis:T1w": len(rows)}
    assert report["states"] == ["stripped", "whole"]
    assert report["subjects"] == {f"set/{s}": SPLIT[s] for s in "ab"}
    counts = report["histograms"]["Sclerosis:T1w"]
    assert sum(counts["before"]) == sum(counts["after"]) > 1000


def test_bad_scans_are_reported_and_do_not_hinder_the_good(tmp_path: Path, source: Location) -> None:
    run = Location.parse(tmp_path / "run")
    report = make_image_file(run, DATA, [source], work(source, "a.nii.gz", "text.nii.gz", "cut.nii.gz"))
    assert report["made"]
    assert report["subjects"].keys() == {"set/a"}
    assert report["states"] == ["stripped", None, None]
    assert {Path(item["path"]).name: item["fault"] for item in report["rejected"]} == {
        "text.nii.gz": "format",
        "cut.nii.gz": "truncated",
    }
    assert all(item["path"] in item["reason"] for item in report["rejected"])


def test_a_part_of_bad_scans_alone_has_no_file(tmp_path: Path, source: Location) -> None:
    run = Location.parse(tmp_path / "run")
    report = make_image_file(run, DATA, [source], work(source, "text.nii.gz"))
    assert report["file"] is None
    assert not (run / "data").files(".parquet")
    assert not make_image_file(run, DATA, [source], work(source, "text.nii.gz"))["made"]


def test_a_scan_without_a_slice_is_told(tmp_path: Path, source: Location) -> None:
    high = DATA.model_copy(update={"slice_range_mm": (90.0, 120.0)})
    report = make_image_file(Location.parse(tmp_path / "run"), high, [source], work(source, "a.nii.gz"))
    (item,) = report["rejected"]
    assert "no slice from 90 to 120 mm" in item["reason"]


def test_a_whole_part_is_kept_and_a_damaged_one_made_again(
    tmp_path: Path, source: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Location.parse(tmp_path / "run")
    scans = work(source, "a.nii.gz")
    first = make_image_file(run, DATA, [source], scans)
    assert first["made"]
    file = run / "data" / first["file"]
    whole = file.read_bytes()
    again = make_image_file(run, DATA, [source], scans)
    assert not again["made"]
    assert {**again, "made": True} == first

    file.write_bytes(whole[:-1])
    assert make_image_file(run, DATA, [source], scans)["made"]
    assert file.read_bytes() == whole
    file.delete()
    assert make_image_file(run, DATA, [source], scans)["made"]
    assert file.read_bytes() == whole

    (run / "data" / "_parts" / f"{first['key']}.json").delete()  # as if killed between the two files
    assert make_image_file(run, DATA, [source], scans)["made"]
    assert file.read_bytes() == whole
    assert len((run / "data").files(".parquet")) == 1


def test_scans_are_read_from_storage_that_is_no_disk(tmp_path: Path, source: Location) -> None:
    store = Location(pafs.SubTreeFileSystem(source.path, pafs.LocalFileSystem()), "")
    scans = [scan_at(Path(name), subject="a", split="train") for name in ("a.nii.gz", "text.nii.gz", "nothing.nii.gz")]
    kept, missing = drop_unusable(scans, [hash_scan(one, store) for one in scans])
    assert [item.path for item in missing] == ["nothing.nii.gz"]
    remote = make_image_file(Location.parse(tmp_path / "remote"), DATA, [store], kept)
    local = make_image_file(Location.parse(tmp_path / "local"), DATA, [source], work(source, "a.nii.gz"))
    assert remote["sha256"] == local["sha256"]
    (item,) = remote["rejected"]
    assert "text.nii.gz: " in item["reason"]
    assert "mrigen-" not in item["reason"]


def test_lesion_masks_go_into_the_images_and_a_broken_one_costs_no_image(tmp_path: Path, source: Location) -> None:
    folder, base = Path(source.path), made_up_scan(1)
    box = np.zeros_like(base.array)
    box[20:30, 20:30, 20:30] = 3
    (folder / "lesions.nii.gz").write_bytes(nifti_bytes(Volume(box, base.affine), description="made up"))
    (folder / "broken.nii.gz").write_bytes(b"hello")
    scans = {
        replace(scan_at(folder / "a.nii.gz", "a"), lesions=str(folder / "lesions.nii.gz")): "1" * 64,
        replace(scan_at(folder / "b.nii.gz", "b"), lesions=str(folder / "broken.nii.gz")): "2" * 64,
        scan_at(folder / "b.nii.gz", "c"): "3" * 64,
    }
    report = make_image_file(Location.parse(tmp_path / "run"), DATA, [source], scans)
    table = pq.read_table(tmp_path / "run" / "data" / report["file"], columns=["subject", "slice_mm", "lesions"])
    packed = {subject: [row["lesions"] for row in table.to_pylist() if row["subject"] == subject] for subject in "abc"}
    assert packed["b"] == [None] * len(packed["b"])
    assert packed["c"] == [None] * len(packed["c"])
    truth = [one.lesions for one in scan_images(base, DATA, subject="a", lesions=box > 0)]
    assert [unpack_mask(bits, (32, 32)).tolist() for bits in packed["a"]] == [mask.tolist() for mask in truth]
    assert any(mask.any() for mask in truth)
    assert not all(mask.any() for mask in truth)
    (item,) = report["rejected"]
    assert item["path"] == str(folder / "broken.nii.gz")
    assert item["reason"].startswith(item["path"])
    assert item["reason"].endswith("b.nii.gz go without a lesion mask")
    assert report["states"] == ["stripped", "whole", "whole"]
    assert report["num_marked"] == len(packed["a"])


@pytest.mark.parametrize("fails", [False, True])
def test_a_t1w_that_others_follow_is_stripped_once(
    tmp_path: Path, source: Location, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    folder, asked = Path(source.path), []
    inside = made_up_scan(1).array > 0
    t1w = scan_at(write_scan(folder / "t1.nii.gz", 3, stripped=False), "b", split="test")
    scans = {t1w: "0" * 64}
    for number, modality in enumerate((Modality.FLAIR, Modality.PD), start=1):
        file = write_scan(folder / f"{modality}.nii.gz", 3 + number, stripped=False)
        scans[replace(scan_at(file, "b", modality=modality, split="test"), t1w=t1w)] = str(number) * 64

    def brain(
        volume: Volume, data: DataConfig, *, mask: object, modality: Modality, t1w: Callable[[], T1wHead] | None = None
    ) -> Mask:
        if t1w is not None:
            return t1w().brain
        asked.append(modality)
        if fails:
            raise VolumeError("no brain there", "mask")
        return inside

    monkeypatch.setattr(image_files, "find_brain", brain)
    strip = DATA.model_copy(update={"head": "strip"})
    report = make_image_file(Location.parse(tmp_path / "run"), strip, [source], scans)
    assert asked == [Modality.T1W]
    assert report["states"] == [None if fails else "stripped"] * 3
    assert [item["path"] for item in report["rejected"]] == [one.path for one in scans if fails]
