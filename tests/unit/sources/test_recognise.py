"""What a user names: told apart, several things in one folder, and what is not known."""

from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from mrigen.errors import InputError
from mrigen.labels import Pathology
from mrigen.storage import Location
from tests.fake_scans import found, kind_of, touch, write_bids

IXI = "IXI012-HH-1211-T1.nii.gz"


def write_series(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "A note").write_text("exported")
    for number in range(3):
        (folder / f"IM{number}.dcm").write_bytes(bytes(128) + b"DICM" + bytes(8))


def test_what_is_not_known_is_refused_with_what_is(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "other/scan.nii")
    (tmp_path / "tree" / "sub-01").mkdir(parents=True)
    for path, words in (
        ("nothing", "no file or folder"),
        ("notes.txt", r"neither a folder nor a \.csv or \.tsv or \.parquet file.*path,subject,pathology,modality"),
        ("tree", r"unknown kind of folder.*BIDS.*OASIS-3.*open_ms_data.*path,subject,pathology,modality"),
        ("other", "unknown kind of folder"),
    ):
        with pytest.raises(InputError, match=words):
            found(tmp_path / path)


def test_trees_and_manifests_are_recognised(tmp_path: Path) -> None:
    write_bids(tmp_path / "tree", {"01": "AD"}, ("T2w",))
    assert kind_of(found(tmp_path / "tree")) == "a BIDS tree"
    write_bids(tmp_path / "less", {"01": "AD", "02": "MCI"}, ("T2w",))
    assert kind_of(found(tmp_path / "less", values={"MCI": "skip"})) == "a BIDS tree (1 scan; skipped: 1)"
    (tmp_path / "list.csv").write_text("path,subject,pathology,modality\na.nii,1,HC,T1\n")
    assert kind_of(found(tmp_path / "list.csv")) == "a manifest"
    write_bids(tmp_path / "bare", {"01": "AD"}, ())
    touch(tmp_path / "bare", "sub-01/dwi/sub-01_dwi.nii.gz")
    with pytest.raises(InputError, match="without any"):
        found(tmp_path / "bare")


def test_several_things_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, f"ixi/{IXI}", f"tree/sourcedata/{IXI}", "mine/a.nii", "what/is this.nii.gz", "brats/readme.csv")
    write_bids(tmp_path / "tree", {"01": "AD"}, ("T2w", "FLAIR"))
    write_bids(tmp_path / "deep" / "er", {"02": "MS"}, ("T1w",))
    (tmp_path / "mine/list.tsv").write_text("path\tsubject\tpathology\tmodality\na.nii\t1\tHC\tPD\n")
    table = found(tmp_path)
    assert kind_of(table) == (
        "a manifest, mine/list.tsv (1 scan), a BIDS tree, deep/er (1 scan), a BIDS tree, tree (2 scans), IXI (1 scan)"
    )
    assert {(scan.subject, scan.pathology) for scan in table.scans} == {
        ("1", Pathology.HEALTHY),
        ("01", Pathology.DEMENTIA),
        ("02", Pathology.SCLEROSIS),
        ("IXI012", Pathology.HEALTHY),
    }
    (item,) = table.rejected
    assert (
        item.reason
        == f"{tmp_path}/what/is this.nii.gz: its name is of no data set that is known: list it in a manifest"
    )


def test_a_tree_without_labels_does_not_spoil_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, IXI, *(f"tree/sub-{n}/anat/sub-{n}_T1w.nii" for n in "12"), f"tree/derivatives/{IXI}")
    (tmp_path / "tree/dataset_description.json").write_text("{}")
    table = found(tmp_path)
    assert [scan.path for scan in table.scans] == [f"{tmp_path}/{IXI}"]
    (item,) = table.rejected
    assert item.path == f"{tmp_path}/tree"
    assert "participants.tsv: missing" in item.reason


def test_a_set_in_bids_names_needs_no_participants(tmp_path: Path) -> None:
    touch(tmp_path, "sub-OAS30001/ses-d0001/anat/sub-OAS30001_ses-d0001_T1w.nii.gz")
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "OASIS3_UDSb4_cdr.csv").write_text("OASISID,days_to_visit,CDRTOT\nOAS30001,0,0\n")
    table = found(tmp_path)
    assert kind_of(table) == "OASIS-3 (1 scan)"
    assert table.rejected == ()


def test_the_kind_can_be_forced(tmp_path: Path) -> None:
    touch(tmp_path, IXI, "sub-01/anat/sub-01_T1w.nii", "BraTS2021_00000_t1.nii.gz")
    table = found(tmp_path, kind="ixi")
    assert kind_of(table) == "IXI (1 scan)"
    assert {Path(item.path).name for item in table.rejected} == {"sub-01_T1w.nii", "BraTS2021_00000_t1.nii.gz"}
    assert "its name is no name of a scan of ixi" in table.rejected[0].reason
    (scan,) = found(tmp_path, kind="bids", pathology="AD").scans
    assert (scan.subject, scan.pathology) == ("01", Pathology.DEMENTIA)
    with pytest.raises(InputError, match="no scan of the kind 'OASIS-1'"):
        found(tmp_path, kind="OASIS-1")
    with pytest.raises(InputError, match="unknown kind 'OASIS'; did you mean 'OASIS-"):
        found(tmp_path, kind="OASIS")


def test_a_folder_of_dicom_files_is_one_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "p1" / "t1")
    write_series(tmp_path / "p2" / "t1")
    touch(tmp_path, "p2/notes.txt")
    (tmp_path / "p2/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    table = found(tmp_path, pathology="AD", modality="T1")
    assert kind_of(table) == "DICOM series (2 scans)"
    assert [(scan.path, scan.subject) for scan in table.scans] == [
        (f"{tmp_path}/p1/t1", "p1"),
        (f"{tmp_path}/p2/t1", "p2"),
    ]
    assert table.rejected == ()
    (scan,) = found(tmp_path / "p1" / "t1", pathology="AD", modality="T1").scans
    assert (scan.path, scan.subject) == (f"{tmp_path}/p1/t1", "t1")
    for options in ({}, {"pathology": "AD"}, {"modality": "T1"}):
        table = found(tmp_path, **options)
        assert table.scans == ()
        assert [item.path for item in table.rejected] == [f"{tmp_path}/p1/t1", f"{tmp_path}/p2/t1"]
        assert "give pathology and modality as options" in table.rejected[0].reason


def test_a_tree_on_other_storage(tmp_path: Path) -> None:
    touch(tmp_path, "data/ixi/IXI012-HH-1211-T1.NII", f"data/ixi/{IXI}", f"data/.cache/{IXI}")
    write_bids(tmp_path / "data" / "tree", {"01": "AD"}, ("T2w",))
    write_series(tmp_path / "data" / "p1")
    remote = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "data")
    table = found(remote)
    assert kind_of(table) == "a BIDS tree, tree (1 scan), IXI (1 scan), DICOM series (0 scans)"
    assert [scan.path for scan in table.scans] == ["data/tree/sub-01/anat/sub-01_T2w.nii.gz", f"data/ixi/{IXI}"]
    assert {item.path for item in table.rejected} == {"data/p1", "data/ixi/IXI012-HH-1211-T1.NII"}


def test_what_is_no_file_is_rejected_with_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "data/" + IXI, "outside.nii")
    (tmp_path / "data/IXI013-HH-1211-T1.nii.gz").symlink_to("../outside.nii")
    table = found(tmp_path / "data")
    assert [(item.fault, len(table.scans)) for item in table.rejected] == [("link", 1)]
    assert len(found(tmp_path / "data", links="follow").scans) == 2
