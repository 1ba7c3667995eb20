"""The phantom cohort as files: BIDS by the validator, whole subjects only, marked as synthetic."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mrigen.bids_names import bids_path
from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.labels import Modality
from mrigen.phantom import FIRST_LESION, LABELS, MEASURES, make_subject
from mrigen.phantom import tree as tree_module
from mrigen.phantom.sites import draw_site
from mrigen.phantom.tree import FORMAT, LESIONS
from mrigen.sources.options import Source
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.phantom import phantom_run
from mrigen.storage import Location
from mrigen.volume import read_volume
from tests.fake_scans import found

SPACING_MM = 4.0
VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four subjects."""
    path = tmp_path_factory.mktemp("phantom")
    write_tree(Location.parse(path), 4)
    return path


@pytest.fixture(scope="module", autouse=True)
def _made_once() -> Iterator[None]:
    """Subjects are made once: files are what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_module, "make_subject", lru_cache(make_subject))
        yield


def write_tree(out: Location, subjects: int, seed: int = 3, spacing_mm: float = SPACING_MM, site: int = 0) -> int:
    """How many were made now."""
    return phantom_run(out, one_by_one, subjects=subjects, seed=seed, spacing_mm=spacing_mm, site=site).num_made


def truth(tree: Path, index: int, name: str) -> np.ndarray:
    """A file of the lesion derivatives as nibabel reads it."""
    label = f"sub-phantom{index:04d}"
    return np.asarray(nibabel.load(tree / LESIONS / label / "anat" / f"{label}_desc-{name}.nii.gz").dataobj)


def table(tree: Path) -> list[dict[str, str]]:
    with (tree / "participants.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def contents(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.skipif(VALIDATOR is None, reason="the BIDS validator is not installed")
def test_the_bids_validator_finds_no_error(tree: Path) -> None:
    done = subprocess.run([str(VALIDATOR), str(tree)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "[ERROR]" not in done.stdout


def test_scans_are_found_again_with_their_labels(tree: Path) -> None:
    table = found(tree)
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
    np.testing.assert_array_equal(truth(tree, 1, "lesion_mask"), subject.lesions)
    np.testing.assert_array_equal(truth(tree, 1, "phantom_dseg"), subject.segmentation)


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
    rows = table(tree)
    assert [row["participant_id"] for row in rows] == [f"sub-phantom{index:04d}" for index in range(4)]
    assert [row["pathology"] for row in rows] == ["Healthy", "Glioblastoma", "Sclerosis", "Dementia"]
    assert all(20 <= float(row["age"]) <= 92 for row in rows)
    described = json.loads((tree / "participants.json").read_text())
    assert list(described) == list(rows[0])[1:]
    assert all(column["Description"] for column in described.values())
    assert {name for name, column in described.items() if column.get("Units") == "mL"} == set(MEASURES)


def test_sites_are_trees_that_go_together(tree: Path, tmp_path: Path) -> None:
    for site in (1, 2):
        write_tree(Location.parse(tmp_path / f"s{site}"), 2, site=site)
    rows = table(tmp_path / "s2")
    assert [(row["participant_id"], row["site"]) for row in rows] == [(f"sub-site2phantom000{k}", "2") for k in (0, 1)]
    assert "site" in json.loads((tmp_path / "s2" / "participants.json").read_text())
    assert "site" not in table(tree)[0]
    sidecar = json.loads(
        (tmp_path / "s1" / bids_path("site1phantom0000", Modality.T1W).replace("nii.gz", "json")).read_text()
    )
    scanner = draw_site(1).scanner
    assert sidecar["MagneticFieldStrength"] == sidecar["Phantom"]["site"]["scanner"]["field_t"] == scanner.field_t
    assert sidecar["RepetitionTime"] == pytest.approx(scanner.protocols[Modality.T1W].tr_ms / 1000, rel=0.1)
    scans = find_all_scans([Source(Location.parse(tmp_path))]).scans
    subjects = {scan.source: {one.subject for one in scans if one.source == scan.source} for scan in scans}
    assert subjects == {
        f"mrigen phantom cohort, site {site}": {f"site{site}phantom000{k}" for k in (0, 1)} for site in (1, 2)
    }
    for other in (0, 2):
        with pytest.raises(InputError, match="another folder"):
            write_tree(Location.parse(tmp_path / "s1"), 2, site=other)


def test_volumes_in_the_table_are_those_of_the_written_labels(tree: Path) -> None:
    """By plain nibabel and the label table of the derivatives, not by the code that measured them."""
    with (tree / LESIONS / "desc-phantom_dseg.tsv").open() as lines:
        label_of = {row["name"]: int(row["index"]) for row in csv.DictReader(lines, delimiter="\t")}
    assert label_of == dict(LABELS)
    voxel_ml = SPACING_MM**3 / 1000
    parts_of = {
        "ventricle_ml": ["ventricle", "choroid"],
        "hippocampus_ml": ["hippocampus"],
        "grey_ml": ["grey", "hippocampus"],
        "white_ml": ["white"],
        "csf_ml": ["fluid", "ventricle", "choroid"],
        "necrosis_ml": ["necrosis"],
        "enhancing_ml": ["rim"],
        "non_enhancing_ml": ["tumour"],
        "oedema_ml": ["oedema"],
        "plaque_ml": ["plaque", "active_plaque", "black_hole"],
        "wmh_ml": ["hyperintensity"],
    }
    for index, row in enumerate(table(tree)):
        labels, mask = truth(tree, index, "phantom_dseg"), truth(tree, index, "lesion_mask")
        for column, parts in parts_of.items():
            counted = sum(int((labels == label_of[part]).sum()) for part in parts) * voxel_ml
            assert float(row[column]) == pytest.approx(counted, abs=6e-4), column
        assert float(row["lesion_ml"]) == pytest.approx(mask.sum() * voxel_ml, abs=6e-4)
        assert int(row["lesion_count"]) == ndimage.label(mask, np.ones((3, 3, 3)))[1]
        np.testing.assert_array_equal(mask > 0, labels >= FIRST_LESION)
        solid = np.isin(labels, [label_of[name] for name in ("grey", "white", "hippocampus")])
        assert float(row["brain_ml"]) == pytest.approx((solid | (mask > 0)).sum() * voxel_ml, abs=6e-4)


def test_a_cohort_of_another_format_is_not_mixed_in(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    description = copy / "dataset_description.json"
    stored = json.loads(description.read_text())
    for identity in ({**stored["Phantom"], "Format": FORMAT - 1}, {"Seed": 3, "SpacingMM": 4.0, "Version": "0.1.0"}):
        description.write_text(json.dumps({**stored, "Phantom": identity}))
        with pytest.raises(InputError, match="another folder"):
            write_tree(Location.parse(copy), 4, 3, SPACING_MM)


def test_whole_subjects_are_kept_and_broken_ones_made_again(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    (copy / bids_path("phantom0000", Modality.T1W)).write_bytes(b"half")
    (copy / bids_path("phantom0001", Modality.T2W)).unlink()
    (copy / "manifest" / "phantom0002.json").unlink()
    (copy / "participants.tsv").unlink()
    assert write_tree(Location.parse(copy), 4) == 3
    assert contents(copy) == contents(tree)


def test_a_cohort_grows_but_does_not_shrink_or_mix(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    out = Location.parse(copy)
    assert write_tree(out, 5) == 1
    assert len((copy / "participants.tsv").read_text().splitlines()) == 6
    with pytest.raises(InputError, match="more than 4 subjects"):
        write_tree(out, 4, 3, SPACING_MM)
    for seed, spacing in ((4, SPACING_MM), (3, 2.4)):
        with pytest.raises(InputError, match="another folder"):
            write_tree(out, 5, seed, spacing)


@pytest.mark.parametrize(
    ("count", "spacing", "words"), [(0, 2.4, "0 subjects"), (10_000, 2.4, "9999"), (4, 0.5, "0.5"), (4, np.nan, "nan")]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, count: int, spacing: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_tree(Location.parse(tmp_path), count, 0, spacing)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_things_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="other files"):
        write_tree(Location.parse(tmp_path), 4, 0, SPACING_MM)
    for text in ('{"Name": "a real study"}', "[]"):
        (tmp_path / "dataset_description.json").write_text(text)
        with pytest.raises(InputError, match="no phantom cohort"):
            write_tree(Location.parse(tmp_path), 4, 0, SPACING_MM)


def test_a_run_killed_at_any_file_finds_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    write = Location.write_bytes

    def killed(self: Location, data: bytes) -> None:
        nonlocal written
        if written == limit:
            raise KeyboardInterrupt
        written += 1
        write(self, data)

    limits = (1, 3, 10, 21)
    for limit in limits:
        out = Location.parse(tmp_path / str(limit))
        written = 0
        with monkeypatch.context() as patch:
            patch.setattr(Location, "write_bytes", killed)
            with pytest.raises(KeyboardInterrupt):
                write_tree(out, 1)
        assert not (out / "participants.tsv").is_file()
        write_tree(out, 1)
    trees = [contents(tmp_path / str(limit)) for limit in limits]
    assert all(found == trees[0] for found in trees)
