"""Every known data set, imitated: alone, in one folder with another, and all together."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.sources.profiles import PROFILES
from mrigen.sources.reading import read_scan
from mrigen.sources.scans import Scan
from mrigen.storage import Location
from tests.fake_scans import found, kind_of
from tests.trees import TREES, ExpectedScan, Tree, write_whole_tree

MARKED = {
    *("BraTS 2018", "BraTS 2021", "BraTS 2024", "MSD Task01", "UPENN-GBM", "UCSF-PDGM"),
    *("ISBI-2015", "open_ms_data", "MSSEG-2016", "MSSEG-2016 by centre", "Shifts MS", "MSLesSeg"),
}
"""Trees whose lesion masks lie beside the scans that they belong to."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    """All trees side by side in one folder."""
    folder = tmp_path_factory.mktemp("trees")
    return {name: write_whole_tree(name, folder / name) for name in TREES}


def as_expected(scan: Scan) -> ExpectedScan:
    return ExpectedScan(
        scan.path, scan.subject, scan.session, scan.pathology.value, scan.modality.value, scan.mask, scan.frame
    )


@pytest.mark.parametrize("name", TREES)
def test_every_label_is_right(trees: dict[str, Tree], name: str) -> None:
    tree = trees[name]
    table = found(tree.folder)
    assert {as_expected(scan) for scan in table.scans} == set(tree.scans)
    assert len(table.scans) == len(tree.scans)
    assert table.rejected == ()
    assert sorted(table.masks) == sorted(tree.masks)


def test_all_of_them_in_one_folder(trees: dict[str, Tree]) -> None:
    table = found(trees["IXI"].folder.parent)
    assert {as_expected(scan) for scan in table.scans} == {scan for tree in trees.values() for scan in tree.scans}
    assert table.rejected == ()
    assert len(table.masks) == sum(len(tree.masks) for tree in trees.values())
    assert "IXI (4 scans; other files left out: 4)" in kind_of(table)
    assert {profile.name for profile in PROFILES if f"{profile.name} (" not in kind_of(table)} == set()


@pytest.mark.parametrize("name", TREES)
def test_a_tree_in_the_folder_of_another(tmp_path: Path, name: str) -> None:
    other = "BIDS" if name != "BIDS" else "OASIS-1"
    outer = write_whole_tree(other, tmp_path / "outer", names_only=True)
    inner = write_whole_tree(name, tmp_path / "outer" / "more", names_only=True)
    assert {as_expected(scan) for scan in found(tmp_path).scans} == {*outer.scans, *inner.scans}


def test_the_folder_of_one_subject_will_do(trees: dict[str, Tree]) -> None:
    names = ("BraTS 2024", "MSD Task01", "UCSF-PDGM", "ISBI-2015", "MSSEG-2016", "MSSEG-2016 by centre", "MSLesSeg")
    for name in names:
        expected = trees[name].scans[0]
        folder = Path(expected.path).parent
        scans = {as_expected(scan) for scan in found(folder).scans}
        assert scans == {scan for scan in trees[name].scans if Path(scan.path).is_relative_to(folder)}, name


@pytest.mark.parametrize("name", TREES)
def test_scans_can_be_read_and_lie_as_they_were_made(trees: dict[str, Tree], name: str) -> None:
    tree = trees[name]
    for scan in found(tree.folder).scans[:4]:
        volume = read_scan(scan, Location.parse(tree.folder))
        assert volume.array.shape == (48, 56, 48)
        ramp = volume.array[34, 28, 24] - volume.array[14, 28, 24]
        assert ramp > 30, "the made-up brain grows brighter from left to right"


@pytest.mark.realdata
def test_real_scans(real_data: Path) -> None:
    table = found(real_data)
    assert table.rejected == ()
    assert sorted(Path(mask).parent.name for mask in table.masks) == ["patient19", "patient26"]
    told = {
        (scan.source, scan.subject, scan.session, scan.pathology.value, scan.modality.value) for scan in table.scans
    }
    mni = [("open_ms_data cross-sectional, MNI", patient, "", "Sclerosis") for patient in ("patient19", "patient26")]
    assert len(table.scans) == len(told) == 17
    assert told == {
        *(("IXI", f"IXI{number:03d}", "", "Healthy", "T1w") for number in (12, 13, 14, 15, 33, 34)),
        *((*labels, modality) for labels in mni for modality in ("T1w", "T1ce", "T2w", "FLAIR")),
        *(("open_ms_data longitudinal", "patient12", "study1", "Sclerosis", m) for m in ("T1w", "T2w", "FLAIR")),
    }


def test_lesion_masks_that_lie_beside_their_scans_are_found(trees: dict[str, Tree]) -> None:
    marked = {name: {scan.lesions for scan in found(tree.folder).scans} - {""} for name, tree in trees.items()}
    assert all(masks <= set(trees[name].masks) for name, masks in marked.items())
    assert {name for name, masks in marked.items() if masks} == MARKED
