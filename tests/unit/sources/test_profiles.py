"""Data sets by the names of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.options import Source
from mrigen.sources.profiles import PROFILES, Profile, find_profile_scans
from mrigen.sources.recognise import find_scans
from mrigen.sources.scans import ScanTable
from mrigen.storage import Location
from tests.fake_scans import write_bids

OPEN_MS = [
    f"patient{number}/{token}_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
    for number in (19, 26)
    for token in ("T1", "T1POST", "T2", "FLAIR")
]
GOLD = "patient19/GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz"


def found(place: Location) -> ScanTable:
    return find_scans(Source(place))


def touch(root: Path, *paths: str) -> Location:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return Location.parse(root)


@pytest.mark.parametrize("above", ["", "MNI/", "open_ms_data/cross_sectional/MNI/"])
def test_open_ms_data_is_known_from_any_folder_above(tmp_path: Path, above: str) -> None:
    table = found(touch(tmp_path, *(above + path for path in [*OPEN_MS, GOLD]), "README.md"))
    assert "open_ms_data" in table.kind
    assert table.rejected == ()
    assert {(scan.subject, scan.modality) for scan in table.scans} == {
        (subject, modality)
        for subject in ("patient19", "patient26")
        for modality in (Modality.T1W, Modality.T1CE, Modality.T2W, Modality.FLAIR)
    }
    assert {(scan.pathology, scan.licence[:5]) for scan in table.scans} == {(Pathology.SCLEROSIS, "CC BY")}
    post = next(scan for scan in table.scans if "T1POST" in scan.path)
    assert post.modality is Modality.T1CE


def test_the_folder_of_one_subject_will_do(tmp_path: Path) -> None:
    touch(tmp_path, *OPEN_MS)
    assert len(found(Location.parse(tmp_path / "patient19")).scans) == 4


def test_other_files_among_them_are_told(tmp_path: Path) -> None:
    folder = touch(tmp_path, *OPEN_MS, "patient19/study1_T1W.nii.gz", "patient20/PD_N4_x_brain_N4_regtoMNI.nii.gz")
    table = found(folder)
    assert len(table.scans) == 8
    assert sorted((Path(item.path).name, item.fault) for item in table.rejected) == [
        ("PD_N4_x_brain_N4_regtoMNI.nii.gz", "name"),
        ("study1_T1W.nii.gz", "name"),
    ]


def test_a_data_set_is_one_declaration(tmp_path: Path) -> None:
    profile = Profile(
        name="mine",
        pattern=r"(?P<subject>p\d+)/(?P<session>v\d)_(?P<token>\w+)\.nii",
        modalities={"pd": Modality.PD},
        pathology=Pathology.DEMENTIA,
        licence="mine",
    )
    table = find_profile_scans(touch(tmp_path, "p7/v2_pd.nii", "p7/v2_ct.nii"), (*PROFILES, profile))
    assert table is not None
    (scan,) = table.scans
    assert (scan.subject, scan.session, scan.modality, scan.source) == ("p7", "v2", Modality.PD, "mine")
    assert len(table.rejected) == 1


def test_what_is_not_known_is_refused_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "tree" / "sub-01").mkdir(parents=True)
    for path, words in (
        ("nothing", "no file or folder"),
        ("notes.txt", r"path,subject,pathology,modality"),
        ("tree", r"unknown kind of folder.*BIDS.*open_ms_data.*path,subject,pathology,modality"),
    ):
        with pytest.raises(InputError, match=words):
            found(Location.parse(tmp_path / path))


def test_trees_and_manifests_are_recognised(tmp_path: Path) -> None:
    write_bids(tmp_path / "tree", {"01": "AD"}, ("T2w",))
    assert found(Location.parse(tmp_path / "tree")).kind == "a BIDS tree"
    (tmp_path / "list.csv").write_text("path,subject,pathology,modality\na.nii,1,HC,T1\n")
    assert found(Location.parse(tmp_path / "list.csv")).kind == "a manifest"
    write_bids(tmp_path / "bare", {"01": "AD"}, ())
    with pytest.raises(InputError, match="without any"):
        found(Location.parse(tmp_path / "bare"))
