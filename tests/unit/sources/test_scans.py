"""Tables of scans: grouping, duplicates, names of parts."""

from __future__ import annotations

from dataclasses import replace

from mrigen.labels import Modality, Pathology
from mrigen.sources.scans import Scan, drop_contradicted, drop_unusable
from tests.fake_scans import scan_at


def scan(subject: int, number: int = 0) -> Scan:
    return scan_at(f"/x/{subject:03d}-{number}.nii", f"s{subject:03d}", pathology=Pathology.HEALTHY)


def test_unreadable_files_and_copies_are_dropped() -> None:
    scans = [scan(1), scan(2), scan(3), scan(4)]
    kept, rejected = drop_unusable(scans, ["aa", "", "aa", "bb"])
    assert kept == {scans[0]: "aa", scans[3]: "bb"}
    assert [(item.path, item.fault) for item in rejected] == [
        (scans[1].path, "missing"),
        (scans[2].path, "duplicate"),
    ]
    assert scans[0].path in rejected[1].reason


def test_a_file_under_two_labels_is_dropped_altogether() -> None:
    scans = [scan(1), replace(scan(1, 1), modality=Modality.FLAIR), scan(2)]
    kept, rejected = drop_unusable(scans, ["aa", "aa", "bb"])
    assert kept == {scans[2]: "bb"}
    assert [(item.path, item.fault) for item in rejected] == [(scans[0].path, "label"), (scans[1].path, "label")]
    assert "Healthy T1w, but the same file as /x/001-1.nii, which is Healthy FLAIR" in rejected[0].reason


def test_a_subject_with_two_pathologies_is_left_out() -> None:
    scans = [scan(1), replace(scan(1, 1), pathology=Pathology.DEMENTIA), scan(2)]
    kept, rejected = drop_contradicted(scans)
    assert kept == [scans[2]]
    assert {item.path for item in rejected} == {scans[0].path, scans[1].path}
    assert "s001 has several pathologies: Dementia, Healthy" in rejected[0].reason


def test_pathologies_may_differ_between_sessions_and_data_sets() -> None:
    later = replace(scan(1, 1), pathology=Pathology.DEMENTIA, session="2")
    elsewhere = replace(scan(1, 2), pathology=Pathology.SCLEROSIS, source="other")
    assert drop_contradicted([scan(1), later, elsewhere]) == ([scan(1), later, elsewhere], [])
