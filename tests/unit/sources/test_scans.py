"""Tables of scans: grouping, duplicates, names of parts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from mrigen.labels import Modality, Pathology
from mrigen.sources.scans import Scan, drop_unusable, group_scans, nifti_files, scan_from_json, scans_key
from mrigen.storage import Location


def scan(subject: int, number: int = 0) -> Scan:
    path = f"/x/{subject:03d}-{number}.nii"
    return Scan(path, f"s{subject:03d}", "", "x", Pathology.HEALTHY, Modality.PD, "CC0")


def test_groups_hold_whole_subjects_and_all_of_them() -> None:
    scans = [scan(subject, number) for subject in range(20) for number in range(1 + subject % 5)]
    groups = group_scans(reversed(scans), target=8)
    assert [s for group in groups for s in group] == sorted(scans, key=lambda s: s.path)
    assert all(8 <= len(group) < 8 + 5 for group in groups[:-1])
    subjects = [s.subject for group in groups for s in {s.subject: s for s in group}.values()]
    assert len(subjects) == len(set(subjects)) == 20
    assert group_scans([]) == []


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
    assert "Healthy PD, but the same file as /x/001-1.nii, which is Healthy FLAIR" in rejected[0].reason


def test_a_key_changes_with_content_labels_and_settings_but_not_with_the_place() -> None:
    one = scan(1)
    key = scans_key({one: "aa"}, {"a": 1})
    assert scans_key({replace(one, path="/elsewhere"): "aa"}, {"a": 1}) == key
    others = [
        scans_key({one: "bb"}, {"a": 1}),
        scans_key({one: "aa"}, {"a": 2}),
        scans_key({replace(one, modality=Modality.T1W): "aa"}, {"a": 1}),
        scans_key({replace(one, subject="s2"): "aa"}, {"a": 1}),
        scans_key({one: "aa", scan(2): "bb"}, {"a": 1}),
    ]
    assert len({key, *others}) == 6


def test_a_scan_comes_back_from_json() -> None:
    again = scan_from_json(json.loads(json.dumps(asdict(scan(5)))))
    assert again == scan(5)
    assert again.pathology is Pathology.HEALTHY
    assert again.modality is Modality.PD


def test_nifti_files_are_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("b/c/2.nii.gz", "1.nii", "x.json", ".hidden/3.nii", "b/.4.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert nifti_files(Location.parse(tmp_path)) == ["1.nii", "b/c/2.nii.gz"]
    assert nifti_files(Location.parse(f"{tmp_path}/")) == ["1.nii", "b/c/2.nii.gz"]
