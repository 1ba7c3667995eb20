"""CSV manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.manifest import find_manifest_scans
from mrigen.sources.scans import Scan, ScanTable
from mrigen.storage import Location

HEADER = "path,subject,pathology,modality"


def read(folder: Path, text: str, name: str = "scans.csv") -> ScanTable:
    (folder / name).write_text(text)
    return find_manifest_scans(Location.parse(folder / name))


def test_rows_become_scans_with_paths_from_the_manifests_folder(tmp_path: Path) -> None:
    rows = ["x/a.nii.gz,sub-1,GBM,t1c,s1,mine,CC0", "/abs/b.nii, 2 ,ms,Flair,,,"]
    text = "\r\n".join([f"\ufeff{HEADER},session,source,licence", *rows, ""])
    assert read(tmp_path, text).scans == (
        Scan(f"{tmp_path}/x/a.nii.gz", "1", "s1", "mine", Pathology.GLIOBLASTOMA, Modality.T1CE, "CC0"),
        Scan("/abs/b.nii", "2", "", "scans", Pathology.SCLEROSIS, Modality.FLAIR, "unknown"),
    )


def test_tabs_will_do_in_a_tsv(tmp_path: Path) -> None:
    text = f"{HEADER}\na b,c.nii,1,HC,T1\n".replace(",", "\t").replace("a b\t", "a b,")
    (scan,) = read(tmp_path, text, "scans.tsv").scans
    assert scan.path == f"{tmp_path}/a b,c.nii"


def test_bad_rows_are_left_out_with_their_number(tmp_path: Path) -> None:
    text = f"{HEADER}\na.nii,1,HC,T1\nb.nii,1,flu,T1\nc.nii,1,HC,CT\n,1,HC,T1\nd.nii,,HC,T1\na.nii,2,HC,T2\ne.nii,1\n"
    table = read(tmp_path, text)
    assert [Path(scan.path).name for scan in table.scans] == ["a.nii"]
    assert [(item.fault, item.reason.split(":")[0]) for item in table.rejected] == [
        ("label", "scans.csv, row 3"),
        ("label", "scans.csv, row 4"),
        ("label", "scans.csv, row 5"),
        ("label", "scans.csv, row 6"),
        ("duplicate", "scans.csv, row 7"),
        ("label", "scans.csv, row 8"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        (f"{HEADER}\n", "no rows"),
        ("path,subject,pathology\na,1,HC\n", "no column 'modality'"),
        (f"{HEADER},sex\na,1,HC,T1,f\n", "unknown column 'sex'"),
        ("a.nii,1,HC,T1\nb.nii,1,HC,T1\n", "no column 'path'"),
    ],
)
def test_a_table_of_other_columns_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, text)
    assert HEADER in str(caught.value)
