"""Who is held out: equal shares of every pathology, nobody moves when data are added, and the user's own list."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrigen.config import DataConfig, load_config
from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.labels import Pathology
from mrigen.prepare.splits import read_splits, split_subjects
from mrigen.preprocess.sampling import slice_heights
from mrigen.records import read_table
from mrigen.sources.scans import Scan
from mrigen.stages.prepare import prepare_run
from mrigen.storage import Location
from tests.fake_scans import found, scan_at, write_bids

DATA = DataConfig(val_fraction=0.1, test_fraction=0.2)


def cohort(pathology: Pathology, *numbers: int) -> list[Scan]:
    return [scan_at(f"/{pathology}{n}", f"{pathology}{n}", pathology=pathology) for n in numbers]


def counts(splits: dict[str, str], pathology: Pathology) -> tuple[int, ...]:
    found = Counter(split for name, split in splits.items() if name.startswith(pathology))
    return tuple(found[split] for split in ("train", "val", "test"))


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (5, (3, 1, 1)), (10, (7, 1, 2)), (26, (18, 3, 5))],
)
def test_every_pathology_has_its_shares_whatever_the_others_have(subjects: int, expected: tuple[int, ...]) -> None:
    scans = [*cohort(Pathology.SCLEROSIS, *range(subjects)), *cohort(Pathology.HEALTHY, *range(30))]
    splits = split_subjects(scans, {}, DATA)
    assert counts(splits, Pathology.SCLEROSIS) == expected
    assert counts(splits, Pathology.HEALTHY) == (21, 3, 6)
    assert split_subjects(reversed(scans), {}, DATA) == splits


def test_added_subjects_move_nobody_and_shares_hold_at_every_step() -> None:
    splits: dict[str, str] = {}
    for number in range(60):
        grown = split_subjects(cohort(Pathology.DEMENTIA, *range(number + 1)), splits, DATA)
        assert splits.items() <= grown.items()
        splits = grown
        train, val, test = counts(splits, Pathology.DEMENTIA)
        assert train
        assert val == pytest.approx(0.1 * number, abs=1)
        assert test == pytest.approx(0.2 * number, abs=1)


def test_shares_of_nothing_hold_nobody_out_and_large_ones_leave_one_to_train_on() -> None:
    scans = cohort(Pathology.HEALTHY, *range(40))
    assert set(split_subjects(scans, {}, DataConfig(val_fraction=0, test_fraction=0)).values()) == {"train"}
    for number in range(1, 9):
        splits = split_subjects(scans[:number], {}, DataConfig(val_fraction=0.39, test_fraction=0.6))
        assert "train" in splits.values()


def test_subjects_of_two_pathologies_are_in_one_split_and_told_ones_count() -> None:
    scans = cohort(Pathology.HEALTHY, *range(10))
    later = [replace(scan, pathology=Pathology.DEMENTIA, session="2") for scan in scans[:6]]
    splits = split_subjects([*scans, *later], {}, DATA)
    assert splits.keys() == {scan.subject for scan in scans}
    told = [replace(scan, split="test") for scan in scans[:2]] + scans[2:]
    splits = split_subjects(told, dict.fromkeys(splits, "train") | {"gone": "val"}, DATA)
    assert splits["Healthy0"] == splits["Healthy1"] == "test"
    assert counts(split_subjects(told, {}, DATA), Pathology.HEALTHY) == (7, 1, 2)
    with pytest.raises(InputError, match="subject Healthy0 is told to be in test and in val"):
        split_subjects([*told, replace(scans[0], split="val")], {}, DATA)


def test_the_split_does_not_follow_the_slice_offset() -> None:
    data = DataConfig(val_fraction=0.25, test_fraction=0.25)
    splits = split_subjects(cohort(Pathology.HEALTHY, *range(800)), {}, data)
    test = [slice_heights(data, subject)[0] for subject, split in splits.items() if split == "test"]
    assert np.mean(test) == pytest.approx(-20 + data.slice_step_mm / 2, abs=0.5)


def test_a_run_remembers_them_and_a_table_says_otherwise(tmp_path: Path, no_data_page: None) -> None:
    config = load_config("tiny", overrides=["data.image_size=32", "data.spacing_mm=6"])
    run, names = Location.parse(tmp_path / "run"), [f"p{n}" for n in range(4)]
    tree = write_bids(tmp_path / "tree", dict.fromkeys(names, "MS"), ("T1w",))

    def prepared(**options: str) -> dict[str, str]:
        prepare_run(run, config, found(tree, **options), one_by_one)
        return {row["subject"]: row["split"] for row in read_table(run / "data", ["subject", "split"]).to_pylist()}

    first = prepared()
    assert Counter(first.values()) == {"train": 2, "val": 1, "test": 1}
    assert read_splits(run, config.data) == first
    assert read_splits(run, config.data.model_copy(update={"test_fraction": 0.3})) == {}
    write_bids(tree, dict.fromkeys([*names, *"abcdef"], "MS"), ("T1w",))
    grown = prepared()
    assert first.items() <= grown.items()
    assert Counter(grown.values()) == {"train": 7, "val": 1, "test": 2}
    trains = next(name for name, split in grown.items() if split == "train")
    (tree / "split.tsv").write_text(f"participant_id\tsplit\nsub-{trains}\tTest\nsub-gone\tval\n")
    assert prepared(split="split.tsv") == grown | {trains: "test"} == prepared()
    (told,) = found(tree, split="split.tsv").kinds
    assert told[-1] == "split.tsv tells the split of 1 not found here, such as gone"


def test_a_table_of_splits_may_lie_beside_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "scans.csv").write_text("path,subject,pathology,modality\nx.nii,a,MS,T1\n")
    (tmp_path / "split.tsv").write_text("subject\tsplit\na\ttest\n")
    assert [scan.split for scan in found(tmp_path / "scans.csv", split="split.tsv").scans] == ["test"]
    with pytest.raises(InputError, match=rf"table 'gone.tsv': no such file in {tmp_path}, nor "):
        found(tmp_path / "scans.csv", split="gone.tsv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject,split\nb,test\n", "split of nobody in .*tree: of b, but subjects are such as a"),
        ("subject,split\na,dev\n", "split.csv, a: split 'dev' is none of train, val, test"),
        ("subject,split\na,val\nsub-a,test\n", "split.csv, a: rows contradict each other: val, test"),
        ("subject,part\na,val\n", "columns subject, part: it needs split and participant_id or subject"),
    ],
)
def test_a_wrong_table_of_splits_is_refused(tmp_path: Path, text: str, words: str) -> None:
    tree = write_bids(tmp_path / "tree", {"a": "MS"}, ("T1w",))
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        found(tree, split=str(tmp_path / "split.csv"))
