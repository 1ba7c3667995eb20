"""`mrigen prepare` on what users have: known data sets, bad files, several sources, S3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mrigen.records import read_table
from mrigen.storage import Location
from mrigen.volume import Volume, nifti_bytes
from tests.command import mrigen
from tests.fake_scans import made_up_scan, write_bids
from tests.malformed import write_malformed

SMALL = ("--preset", "tiny", "--set", "data.image_size=32", "--set", "data.spacing_mm=6")


def labels_of(run: Location) -> set[tuple[str, str, str]]:
    columns = ["subject", "pathology", "modality"]
    return {tuple(row.values()) for row in read_table(run / "data", columns).to_pylist()}  # type: ignore[misc]


def test_malformed_files_are_left_out_with_their_class(
    tmp_path: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_bids(tmp_path / "tree", {"good": "MS"}, ("T1w",))
    (tmp_path / "malformed").mkdir()
    faults = write_malformed(tmp_path / "malformed")
    assert len(faults) >= 60
    for name in ("noise", "mask"):
        base = made_up_scan(0)
        array = np.random.default_rng(1).rayleigh(9, base.array.shape) if name == "noise" else base.array > 0
        volume = Volume(array.astype(np.float32), base.affine)
        (tmp_path / "malformed" / f"{name}.nii.gz").write_bytes(nifti_bytes(volume, description="", dtype=np.float32))
        faults[f"{name}.nii.gz"] = "voxels"
    lines = [f"malformed/{name},s{number},MS,T1" for number, name in enumerate(faults)]
    good = tree / "sub-good/anat/sub-good_T1w.nii.gz"
    manifest = tmp_path / "scans.csv"
    manifest.write_text("\n".join(["path,subject,pathology,modality", f"{good},good,MS,T1", *lines]))
    assert mrigen("prepare", manifest, tmp_path / "run", *SMALL, "--set", "data.max_scan_mb=32") == 0
    rows = pq.read_table(tmp_path / "run" / "quarantine" / "quarantine.parquet").to_pylist()
    assert {Path(row["path"]).name: row["class"] for row in rows} == faults
    assert labels_of(Location.parse(tmp_path / "run")) == {("good", "Sclerosis", "T1w")}
    printed = capsys.readouterr()
    assert f"left out: {len(faults)} files" in printed.out
    assert printed.err.count("left out: ") == 21


def test_from_s3_to_s3(tmp_path: Path, no_ray: None, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = write_bids(tmp_path / "tree", {"a": "MS", "b": "control"})
    (tree / "sub-a/anat/sub-a_T2w.nii.gz").write_bytes(b"no scan")
    Location.parse(bucket.format("tree")).upload(tree)
    assert mrigen("prepare", tree, tmp_path / "run", *SMALL) == 0
    for _ in range(2):
        assert mrigen("prepare", bucket.format("tree"), bucket.format("run"), *SMALL) == 0
    assert "1 of 1 parts stood already" in capsys.readouterr().out
    remote, local = Location.parse(bucket.format("run")), Location.parse(tmp_path / "run")
    parts = {file.name: file.sha256() for file in (remote / "data").files(".parquet")}
    assert parts == {file.name: file.sha256() for file in (local / "data").files(".parquet")}
    [row] = read_table(remote / "quarantine").to_pylist()
    assert row["class"] == "format"
    assert "a:b" not in row["reason"]


@pytest.mark.realdata
@pytest.mark.slow
def test_real_scans_side_by_side_are_told_apart_and_their_mixed_heads_refused(
    tmp_path: Path, real_data: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert mrigen("prepare", real_data, run, *SMALL) == 2
    printed = capsys.readouterr()
    assert "recognised: 17 scans, 2 masks (2 go with scans); left out: 0 files" in printed.out
    assert "8 scans (8 Sclerosis) skull-stripped" in printed.err
    assert not (run / "data").exists()
    assert mrigen("prepare", real_data, run, "--allow-mixed-heads") == 0
    ixi = {(f"IXI{number}", "Healthy", "T1w") for number in ("012", "013", "014", "015", "033", "034")}
    raw = {("patient12", "Sclerosis", modality) for modality in ("T1w", "T2w", "FLAIR")}
    mni = {(f"patient{n}", "Sclerosis", modality) for n in (19, 26) for modality in ("T1w", "T1ce", "T2w", "FLAIR")}
    assert labels_of(Location.parse(run)) == ixi | raw | mni
