"""Folders in no known layout, whose labels the user gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.errors import InputError
from tests.fake_scans import found, kind_of, touch


def labels(table: object) -> list[tuple[str, ...]]:
    return [(s.subject, s.session, s.pathology, s.modality) for s in table.scans]  # type: ignore[attr-defined]


def test_a_folder_of_no_layout_is_taken_with_the_labels_given(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "b.hdr", "b.img", "case 3/x/head.NII", "case 3/y.nii", "notes.txt")
    for kind in ({}, {"kind": "folder"}):
        table = found(tmp_path, pathology="control", modality="t1", **kind)
        names = ("a", "b", "case 3", "case 3")
        assert labels(table) == [(name, "", "Healthy", "T1w") for name in names]
        assert [scan.orientation for scan in table.scans] == ["", "", "", ""]
        assert kind_of(table) == "images with labels given, 3 subjects such as a (4 scans)"
        assert table.rejected == ()


def test_a_pattern_names_the_parts_of_a_path(tmp_path: Path) -> None:
    touch(tmp_path, "in/IXI012_Guys_T1.nii.gz", "in/IXI012_Guys_PD.nii.gz", "p1_CT.nii.gz", "in/readme.nii.gz")
    table = found(tmp_path, pattern="{subject}_{modality}.nii.gz", pathology="HC")
    assert labels(table) == [("IXI012_Guys", "", "Healthy", "PD"), ("IXI012_Guys", "", "Healthy", "T1w")]
    assert [(Path(item.path).name, item.fault) for item in table.rejected] == [
        ("readme.nii.gz", "name"),
        ("p1_CT.nii.gz", "label"),
    ]
    assert "its name does not fit '{subject}_{modality}.nii.gz'" in table.rejected[0].reason
    touch(tmp_path, "MS/7/ses-2/7_x_flair.nii", "AD/8/ses-1/9_x_flair.nii")
    pattern = "{pathology}/{subject}/{session}/{subject}_*_{modality}.nii"
    assert labels(found(tmp_path, pattern=pattern)) == [("7", "2", "Sclerosis", "FLAIR")]


def test_a_table_tells_the_pathology_of_a_patterns_subjects(tmp_path: Path) -> None:
    touch(tmp_path, "img/s1-T2.nii", "img/s2-T2.nii", "img/s3-T2.nii")
    (tmp_path / "who.csv").write_text("subject,dx\ns1,MS\ns2,other\n")
    table = found(tmp_path, pattern="{subject}-{modality}.nii", table="who.csv", values={"other": "skip"})
    assert labels(table) == [("s1", "", "Sclerosis", "T2w")]
    (item,) = table.rejected
    assert item.reason.endswith("s3 is not in who.csv")


def test_masks_among_them_are_left_out_and_told(tmp_path: Path) -> None:
    masks = ["a_mask.nii", "a-brainmask.nii", "a_T1w_dseg.nii", "lesion.nii", "x/aseg.nii", "a_aparc+aseg.nii"]
    scans = ["a_t1.nii", "unmasked.nii", "a_masked_t1.nii", "segal_t1.nii"]
    table = found(touch(tmp_path, *masks, *scans), pathology="MS", modality="T1")
    assert sorted(scan.path for scan in table.scans) == sorted(f"{tmp_path}/{name}" for name in scans)
    assert "left out as masks by their names: 6" in kind_of(table)
    assert table.rejected == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "folder", "modality": "T1"}, r"name its pathology: by pathology=, table=, or \{pathology\} in"),
        ({"kind": "folder", "pathology": "MS"}, r"name its modality: by modality=, or \{modality\} in pattern="),
        ({"pattern": "{subjct}.nii"}, r"unknown place \{subjct\}; known are \{subject\}, \{session\}"),
        ({"pattern": "{modality}.nii", "pathology": "MS"}, r"it needs \{subject\}"),
        ({"pattern": "", "pathology": "MS", "modality": "T1"}, r"pattern '': it needs \{subject\}"),
        ({"pattern": "{subject}.nii", "kind": "IXI"}, "a pattern is of the kind 'folder' alone, not 'IXI'"),
        ({}, "any folder of images with pathology= and modality= or pattern= as options"),
    ],
)
def test_what_is_not_told_is_asked_for(tmp_path: Path, options: dict[str, str], words: str) -> None:
    touch(tmp_path, "a.nii")
    with pytest.raises(InputError, match=words):
        found(tmp_path, **options)


def test_labels_given_do_not_take_what_a_known_set_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "IXI012-HH-1211-T1.nii.gz", "strange.nii")
    table = found(tmp_path, pathology="HC", modality="T1")
    assert [scan.subject for scan in table.scans] == ["IXI012"]
    assert [Path(item.path).name for item in table.rejected] == ["strange.nii"]
