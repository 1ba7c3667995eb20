"""The phantom cohort as files: BIDS by the validator, whole subjects only, marked as synthetic."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mrigen.errors import InputError
from mrigen.labels import Modality
from mrigen.sources.bids import bids_path, find_bids_scans
from mrigen.sources.phantom import make_subject
from mrigen.sources.phantom_tree import LESIONS, close_tree, open_tree, write_subject
from mrigen.storage import Location
from mrigen.volume import read_volume

SPACING_MM = 4.0
VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four subjects."""
    path = tmp_path_factory.mktemp("phantom")
    write_tree(Location.parse(path), 4)
    return path


def write_tree(out: Location, count: int, seed: int = 3) -> list[dict[str, Any]]:
    open_tree(out, count, seed, SPACING_MM)
    rows = [write_subject(out, index, seed, SPACING_MM) for index in range(count)]
    close_tree(out, rows)
    return rows


def contents(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.skipif(VALIDATOR is None, reason="the BIDS validator is not installed")
def test_the_bids_validator_finds_no_error(tree: Path) -> None:
    done = subprocess.run([str(VALIDATOR), str(tree)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "[ERROR]" not in done.stdout


def test_scans_are_found_again_with_their_labels(tree: Path) -> None:
    table = find_bids_scans(Location.parse(tree))
    assert len(table.scans) == 20
    assert table.rejected == ()
    assert {scan.modality for scan in table.scans} == set(Modality)
    assert [
        scan.pathology.value for scan in sorted(table.scans, key=lambda s: s.subject) if scan.modality == Modality.PD
    ] == ["Healthy", "Glioblastoma", "Sclerosis", "Dementia"]
    assert all("McConnell" in scan.licence for scan in table.scans)


def test_images_are_those_of_the_subject_in_whole_numbers(tree: Path) -> None:
    subject = make_subject(3, 1, SPACING_MM)
    for modality, image in subject.images.items():
        volume = read_volume(tree / bids_path("phantom0001", modality))
        np.testing.assert_allclose(volume.affine, subject.affine, atol=1e-5)
        np.testing.assert_array_equal(volume.array > 0, subject.brain > 0)
        assert np.abs(volume.array - image)[subject.brain > 0].max() <= 1.0
    mask = tree / LESIONS / "sub-phantom0001/anat/sub-phantom0001_desc-lesion_mask.nii.gz"
    np.testing.assert_array_equal(nibabel.load(mask).get_fdata(), subject.lesions > 0)


def test_everything_says_that_it_is_no_person(tree: Path) -> None:
    location = Location.parse(tree)
    for name in ("dataset_description.json", f"{LESIONS}/dataset_description.json", "README"):
        assert "no scan of a person" in (tree / name).read_text().casefold()
    for file in tree.rglob("*.nii.gz"):
        assert nibabel.load(file).header["descrip"].item().startswith(b"synthetic")
    sidecar = (location / bids_path("phantom0002", Modality.FLAIR).replace(".nii.gz", ".json")).read_json()
    assert sidecar["Synthetic"] is True
    assert sidecar["SkullStripped"] is True
    assert sidecar["InversionTime"] == pytest.approx(2.45, rel=0.1)
    assert sidecar["Phantom"]["seed"] == 3
    assert sidecar["Phantom"]["pathology"] == "Sclerosis"
    assert sidecar["Phantom"]["plaques"]
    assert sidecar["Phantom"]["scan"]["noise_seed"] >= 0


def test_a_table_tells_who_they_are(tree: Path) -> None:
    lines = (tree / "participants.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["participant_id", "age", "pathology"]
    assert lines[2].split("\t")[::2] == ["sub-phantom0001", "Glioblastoma"]
    assert 40 <= float(lines[2].split("\t")[1]) <= 80


def test_whole_subjects_are_kept_and_broken_ones_made_again(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    (copy / bids_path("phantom0000", Modality.T1W)).write_bytes(b"half")
    (copy / bids_path("phantom0001", Modality.T2W)).unlink()
    (copy / "manifest" / "phantom0002.json").unlink()
    (copy / "participants.tsv").unlink()
    assert [row["made"] for row in write_tree(Location.parse(copy), 4)] == [True, True, True, False]
    assert contents(copy) == contents(tree)


def test_a_cohort_grows_but_does_not_shrink_or_mix(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    out = Location.parse(copy)
    rows = write_tree(out, 5)
    assert [row["made"] for row in rows] == [False] * 4 + [True]
    assert len((copy / "participants.tsv").read_text().splitlines()) == 6
    with pytest.raises(InputError, match="more than 4 subjects"):
        open_tree(out, 4, 3, SPACING_MM)
    for seed, spacing in ((4, SPACING_MM), (3, 2.4)):
        with pytest.raises(InputError, match="another folder"):
            open_tree(out, 5, seed, spacing)


@pytest.mark.parametrize(
    ("count", "spacing", "words"), [(0, 2.4, "0 subjects"), (10_000, 2.4, "9999"), (4, 0.5, "0.5"), (4, np.nan, "nan")]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, count: int, spacing: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_tree(Location.parse(tmp_path), count, 0, spacing)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_things_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="other files"):
        open_tree(Location.parse(tmp_path), 4, 0, SPACING_MM)
    for text in ('{"Name": "a real study"}', "[]"):
        (tmp_path / "dataset_description.json").write_text(text)
        with pytest.raises(InputError, match="no phantom cohort"):
            open_tree(Location.parse(tmp_path), 4, 0, SPACING_MM)


def test_a_run_killed_at_any_file_finds_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    write = Location.write_bytes

    def killed(self: Location, data: bytes) -> None:
        nonlocal written
        if written == limit:
            raise KeyboardInterrupt
        written += 1
        write(self, data)

    for limit in (1, 2, 3, 9, 15, 17, 18):
        out = Location.parse(tmp_path / str(limit))
        written = 0
        with monkeypatch.context() as patch:
            patch.setattr(Location, "write_bytes", killed)
            with pytest.raises(KeyboardInterrupt):
                write_tree(out, 1)
        assert not (out / "participants.tsv").is_file()
        write_tree(out, 1)
    trees = [contents(tmp_path / str(limit)) for limit in (1, 2, 3, 9, 15, 17, 18)]
    assert all(found == trees[0] for found in trees)
