"""Groups of scans that share a file: whole subjects, names that tell content, and added scans that move nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mrigen.config import DataConfig
from mrigen.labels import Modality, Pathology
from mrigen.prepare import scan_groups
from mrigen.prepare.scan_groups import (
    group_key,
    group_scans,
    read_groups,
    regroup_scans,
    scan_key,
    scans_per_group,
    store_groups,
)
from mrigen.sources.scans import Scan
from mrigen.storage import Location
from tests.fake_scans import scan_at

DATA = DataConfig()


def scan(subject: int, number: int = 0) -> Scan:
    return scan_at(f"/x/{subject:03d}-{number}.nii", f"s{subject:03d}", modality=Modality.PD)


def contents(*subjects: int) -> dict[Scan, str]:
    return {scan(subject, number): f"{subject}-{number}" for subject in subjects for number in range(3)}


def stored(planned: list[dict[Scan, str]]) -> list[list[str]]:
    return [[scan_key(one, content) for one, content in part.items()] for part in planned]


def test_groups_hold_whole_subjects_and_all_of_them() -> None:
    scans = [scan(subject, number) for subject in range(20) for number in range(1 + subject % 5)]
    groups = group_scans(reversed(scans), target=8)
    assert [s for group in groups for s in group] == sorted(scans, key=lambda s: s.path)
    assert all(8 <= len(group) < 8 + 5 for group in groups[:-1])
    subjects = [s.subject for group in groups for s in {s.subject: s for s in group}.values()]
    assert len(subjects) == len(set(subjects)) == 20
    assert group_scans([]) == []


def test_a_scans_key_is_its_content_and_labels_and_not_its_place() -> None:
    one = scan(1)
    key = scan_key(one, "aa")
    assert scan_key(replace(one, path="/elsewhere", origin=3, mask="/m.nii"), "aa") == key
    told = {
        "modality": Modality.T1W,
        "pathology": Pathology.HEALTHY,
        "subject": "s2",
        "frame": 1,
        "orientation": "RAS",
        "licence": "MIT",
        "split": "test",
    }
    others = [scan_key(replace(one, **{name: value}), "aa") for name, value in told.items()]
    assert len({key, scan_key(one, "bb"), *others}) == 9


def test_a_parts_name_follows_scans_settings_and_format(monkeypatch: pytest.MonkeyPatch) -> None:
    part = contents(1)
    key = group_key(part, DATA)
    assert group_key(dict(part), DATA) == key
    assert group_key(contents(2), DATA) != key
    assert group_key(part, DATA.model_copy(update={"slice_step_mm": 7.0})) != key
    monkeypatch.setattr(scan_groups, "FORMAT", scan_groups.FORMAT + 1)
    assert group_key(part, DATA) != key


def test_added_scans_make_parts_of_their_own() -> None:
    before = regroup_scans(contents(1, 3, 5, 7), [], target=4)
    assert [len(part) for part in before] == [6, 6]
    after = regroup_scans(contents(0, 1, 2, 3, 5, 7), stored(before), target=4)
    assert after[:2] == before
    assert after[2:] == [contents(0, 2)]


def test_scans_that_are_gone_change_only_their_part_and_a_changed_file_is_a_new_scan() -> None:
    before = regroup_scans(contents(1, 3, 5, 7), [], target=4)
    assert regroup_scans(contents(1, 5, 7), stored(before), target=4) == [contents(1), before[1]]
    assert regroup_scans(contents(5, 7), stored(before), target=4) == [before[1]]
    before = regroup_scans(contents(1, 3), [], target=3)
    changed = {**contents(1, 3), scan(1, 0): "other"}
    assert regroup_scans(changed, stored(before), target=3) == [
        {scan(1, 1): "1-1", scan(1, 2): "1-2"},
        before[1],
        {scan(1, 0): "other"},
    ]


def test_groups_are_stored_in_the_run(tmp_path: Path) -> None:
    run = Location.parse(tmp_path)
    assert read_groups(run) == []
    groups = regroup_scans(contents(1, 3), [], target=3)
    store_groups(run, groups)
    assert read_groups(run) == stored(groups)


def test_large_images_make_smaller_parts() -> None:
    assert scans_per_group(DATA) == scan_groups.MAX_SCANS
    volumes = DATA.model_copy(update={"spatial_dims": 3, "image_size": 256})
    assert scans_per_group(volumes) == 8
    assert scans_per_group(volumes.model_copy(update={"image_size": 512})) == 1
