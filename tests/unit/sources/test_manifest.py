"""CSV manifests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.manifest import find_manifest_scans
from mrigen.sources.options import SourceOptions
from mrigen.sources.reading import hash_scan
from mrigen.sources.scans import ClaimedFiles, Scan
from mrigen.storage import Location

HEADER = "path,subject,pathology,modality"


def read(folder: Path, text: str, name: str = "scans.csv", **options: object) -> ClaimedFiles:
    (folder / name).write_text(text)
    return find_manifest_scans(Location.parse(folder / name), SourceOptions.model_validate(options))


def test_rows_become_scans_with_paths_from_the_manifests_folder(tmp_path: Path) -> None:
    rows = ["x/a.nii.gz,sub-1,GBM,t1c,s1,mine,CC0", "/abs/b.nii, 2 ,ms,Flair,,,"]
    text = "\r\n".join([f"\ufeff{HEADER},session,source,licence", *rows, ""])
    assert read(tmp_path, text).scans == [
        Scan(f"{tmp_path}/x/a.nii.gz", "1", "s1", "mine", Pathology.GLIOBLASTOMA, Modality.T1CE, "CC0"),
        Scan("/abs/b.nii", "2", "", "scans", Pathology.SCLEROSIS, Modality.FLAIR, "unknown"),
    ]


def test_bad_rows_are_left_out_with_their_number(tmp_path: Path) -> None:
    text = f"{HEADER}\na.nii,1,HC,T1\nb.nii,1,flu,T1\nc.nii,1,HC,CT\n,1,HC,T1\nd.nii,,HC,T1\na.nii,2,HC,T1\ne.nii,1\n"
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


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), (" ", "blanks")])
def test_columns_parted_by_another_mark_are_shown(tmp_path: Path, mark: str, word: str) -> None:
    header = HEADER.replace(",", mark)
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"{header}\n{'a.nii,1,HC,T1'.replace(',', mark)}\n")
    assert f"scans.csv: its columns are parted by {word}: save it with commas: found are {header!r};" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ('a.nii,1,HC,T1\n"b.nii,2,HC,T1\nc.nii,3,HC,T1\n', "line 3: a quote is not closed"),
        ('"a.nii"x,1,HC,T1\n', "line 2: a quote is not closed, or not where a cell ends"),
        ("a.nii,1,HC,T1\n\nb, c.nii,2,HC,T1\n", "line 4: 5 cells, but 4 columns: 'T1' is of none"),
        ("a.nii,1,HC,T1\nb.nii,2,H\0C,T1\n", "line 3: a NUL character"),
    ],
)
def test_a_damaged_table_is_refused_by_line(tmp_path: Path, rows: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, f"{HEADER}\n{rows}")
    assert str(caught.value).startswith(f"{tmp_path}/scans.csv, {words}")
    assert len(read(tmp_path, f'{HEADER}\n"a, ""b"".nii",1,HC,T1, ,\n').scans) == 1


def test_a_file_under_two_labels_is_told_as_a_conflict(tmp_path: Path) -> None:
    table = read(tmp_path, f"{HEADER}\na.nii,1,HC,T1\nb.nii,2,HC,T1\na.nii,1,MS,T1\n")
    assert [scan.subject for scan in table.scans] == ["2"]
    (item,) = table.rejected
    told = "the file is listed before, with other labels: Sclerosis T1w here, Healthy T1w in row 2: none is used"
    assert (item.fault, item.reason) == ("label", f"scans.csv, row 4: {told}")


def test_either_file_of_a_pair_will_do(tmp_path: Path) -> None:
    table = read(tmp_path, f"{HEADER}\na.img,1,HC,T1\nb.IMG.GZ,2,HC,T1\na.hdr,1,HC,T1\n")
    assert [(scan.path, scan.orientation) for scan in table.scans] == [
        (f"{tmp_path}/a.hdr", ""),
        (f"{tmp_path}/b.hdr", ""),
    ]
    assert [item.fault for item in table.rejected] == ["duplicate"]


def test_a_row_may_name_a_uri(tmp_path: Path) -> None:
    uris = [f"file://{tmp_path}/a%20b.nii", "mock://far/c.nii", "xyz://far/d.nii"]
    table = read(tmp_path, "\n".join([HEADER, *(f"{uri},{n},HC,T1" for n, uri in enumerate(uris))]))
    assert [scan.path for scan in table.scans] == [f"{tmp_path}/a b.nii", "mock://far/c.nii"]
    assert "cannot use 'xyz://far/d.nii' as storage" in table.rejected[0].reason
    assert Location.parse(tmp_path).at("mock://far/c.nii").filesystem.type_name == "mock"
    assert hash_scan(table.scans[1], Location.parse(tmp_path)) == ""
    (tmp_path / "a b.nii").write_bytes(b"x")
    assert len(hash_scan(table.scans[0], Location.parse(tmp_path))) == 64


def test_masks_lesions_frames_and_orientations_may_follow(tmp_path: Path) -> None:
    rows = [
        "a.nii,1,HC,T1,m/a.nii,s/a.nii,,",
        "b.nii,2,HC,T1,,,0,",
        "b.nii,2,HC,T2,,,3,",
        "c.hdr,3,HC,T1,,,,ras",
        "d.hdr,3,HC,T1,,,,",
    ]
    scans = read(tmp_path, "\n".join([f"{HEADER},mask,lesions,frame,orientation", *rows])).scans
    assert [(scan.mask, scan.lesions, scan.frame, scan.orientation) for scan in scans] == [
        (f"{tmp_path}/m/a.nii", f"{tmp_path}/s/a.nii", None, ""),
        ("", "", 0, ""),
        ("", "", 3, ""),
        ("", "", None, "RAS"),
        ("", "", None, ""),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.nii,1,HC,T1,x,", "row 2: frame 'x' is no place along the fourth axis"),
        ("a.nii,1,HC,T1,-1,", "frame '-1'"),
        ("a.hdr,1,HC,T1,,LAA", "orientation 'LAA' does not name three axes"),
        ("a.nii,1,,T1,,", "the value is empty; say what it means by values.=PATHOLOGY, or values.=skip"),
    ],
)
def test_rows_are_checked_one_by_one(tmp_path: Path, row: str, words: str) -> None:
    table = read(tmp_path, f"{HEADER},frame,orientation\n{row}\nb.nii,2,HC,T1,,\n")
    assert [Path(scan.path).name for scan in table.scans] == ["b.nii"]
    assert words in table.rejected[0].reason


def test_a_parquet_file_will_do(tmp_path: Path) -> None:
    rows = [
        {"path": "a.nii", "subject": 7, "pathology": "MS", "modality": "PD", "frame": None},
        {"path": "b.nii", "subject": 8, "pathology": "MS", "modality": "PD", "frame": 2},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scans.parquet")
    scans = find_manifest_scans(Location.parse(tmp_path / "scans.parquet"), SourceOptions()).scans
    assert [(Path(scan.path).name, scan.subject, scan.frame) for scan in scans] == [
        ("a.nii", "7", None),
        ("b.nii", "8", 2),
    ]
    (tmp_path / "scans.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(InputError, match=r"scans\.parquet: not a Parquet table"):
        find_manifest_scans(Location.parse(tmp_path / "scans.parquet"), SourceOptions())


def test_options_go_before_the_table(tmp_path: Path) -> None:
    text = f"{HEADER}\na.nii,1,case,T1\nb.nii,2,other,T1\n"
    table = read(tmp_path, text, values={"case": "GBM", "other": "skip"}, modality="FLAIR")
    assert [(scan.pathology, scan.modality) for scan in table.scans] == [(Pathology.GLIOBLASTOMA, Modality.FLAIR)]
    assert not table.rejected
