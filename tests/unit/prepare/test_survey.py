"""The survey: headers, hashes and a few heads, before any image is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mrigen.config import DataConfig
from mrigen.each import one_by_one
from mrigen.labels import Modality
from mrigen.prepare.survey import LOOKS_PER_CELL, ScanFacts, scans_to_look_at, survey_scan, survey_sources, with_t1w
from mrigen.sources.scans import Rejected
from mrigen.storage import Location
from tests.fake_scans import found, made_up_scan, scan_at, write_bids, write_scan

DATA = DataConfig()


def test_a_few_of_every_source_and_cell_are_looked_at() -> None:
    scans = [scan_at(Path(f"/{k}"), f"{k:02d}") for k in range(9)]
    others = [replace(one, modality=Modality.PD) for one in scans] + [replace(scans[0], origin=1)]
    looks = scans_to_look_at([*reversed(scans), *others])
    assert looks & set(scans) == set(scans[:LOOKS_PER_CELL])
    assert len(looks) == 2 * LOOKS_PER_CELL + 1


@pytest.mark.parametrize("stripped", [True, False])
def test_facts_come_from_the_header_and_the_head_from_a_look(tmp_path: Path, stripped: bool) -> None:
    one = scan_at(write_scan(tmp_path / "a.nii.gz", 1, stripped=stripped))
    places = [Location.parse(tmp_path)]
    seen, header = (survey_scan(one, places, DATA, look=look) for look in (True, False))
    assert isinstance(seen, ScanFacts)
    assert (seen.spacing_text, seen.orientation, seen.stripped) == ("4 x 4 x 4 mm", "RAS", stripped)
    assert header == replace(seen, stripped=None)
    assert seen.traits(stripped=None).thickness_mm == 4.0


def test_axes_that_an_analyze_file_does_not_tell_are_assumed_and_told(tmp_path: Path) -> None:
    volume = made_up_scan(1)
    image = nibabel.AnalyzeImage(np.rint(volume.array).astype(np.int16), volume.affine)
    nibabel.save(image, tmp_path / "a.img")
    one = scan_at(tmp_path / "a.hdr")
    seen = [
        survey_scan(scan, [Location.parse(tmp_path)], DATA, look=False)
        for scan in (one, replace(one, orientation="LAS"))
    ]
    assert [getattr(facts, "orientation", facts) for facts in seen] == ["LAS, assumed", "LAS"]


def test_a_mask_counts_in_the_hash_only_where_it_is_used(tmp_path: Path) -> None:
    one = scan_at(write_scan(tmp_path / "a.nii.gz", 1))
    mask = write_scan(tmp_path / "mask.nii.gz", 2)
    places = [Location.parse(tmp_path)]

    def content(with_mask: bool, data: DataConfig) -> str:
        facts = survey_scan(replace(one, mask=str(mask) if with_mask else ""), places, data, look=False)
        assert isinstance(facts, ScanFacts)
        return facts.content

    strip = DataConfig(head="strip")
    assert content(True, DATA) == content(False, DATA) == content(False, strip)
    assert content(True, strip) != content(False, strip)


def test_a_lesion_mask_counts_in_the_identity_alone_and_a_bad_one_costs_no_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scan_at(write_scan(tmp_path / "a.nii.gz", 1))
    places = [Location.parse(tmp_path)]

    def facts(lesions: str) -> ScanFacts:
        seen = survey_scan(replace(one, lesions=lesions), places, DATA, look=False)
        assert isinstance(seen, ScanFacts)
        return seen

    masks = [str(write_scan(tmp_path / f"{name}.nii.gz", seed)) for seed, name in enumerate("xyz")]
    assert len({facts(mask).identity for mask in masks}) == 3
    assert len({facts(mask).content for mask in masks}) == 1
    unmarked = facts("")
    assert unmarked.identity == unmarked.content
    for bad in (str(tmp_path / "none.nii.gz"), str(tmp_path), f"{tmp_path}/a\0.nii"):
        assert facts(bad).identity == unmarked.content

    whole = Location.sha256

    def forbidden(self: Location) -> str:
        if self.path == masks[0]:
            raise PermissionError(13, "Permission denied")
        return whole(self)

    monkeypatch.setattr(Location, "sha256", forbidden)
    assert facts(masks[0]).identity == unmarked.content


def test_bad_files_and_missing_masks_come_back_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "b.nii.gz").write_bytes(b"no scan")
    places = [Location.parse(tmp_path)]
    bad = survey_scan(scan_at(tmp_path / "b.nii.gz"), places, DATA, look=False)
    assert isinstance(bad, Rejected)
    assert (bad.fault, str(tmp_path / "b.nii.gz") in bad.reason) == ("format", True)
    unmasked = replace(scan_at(write_scan(tmp_path / "a.nii.gz", 1)), mask=str(tmp_path / "none.nii.gz"))
    missing = survey_scan(unmasked, places, DataConfig(head="strip"), look=False)
    assert isinstance(missing, Rejected)
    assert missing.fault == "missing"
    assert "none.nii.gz" in missing.reason


def test_everything_left_out_is_told_once(tmp_path: Path) -> None:
    tree = write_bids(tmp_path / "tree", {"a": "MS", "b": "flu", "c": "control"}, ("T1w",))
    copy = tree / "sub-c/anat/sub-c_run-2_T1w.nii.gz"
    copy.write_bytes((tree / "sub-c/anat/sub-c_T1w.nii.gz").read_bytes())
    (tree / "sub-a/anat/sub-a_FLAIR.nii.gz").write_bytes(b"no scan")
    told: list[Rejected] = []
    facts, rejected = survey_sources(found(tree), DATA, one_by_one, told.append)
    assert told == rejected
    assert sorted(item.fault for item in told) == ["duplicate", "format", "label"]
    assert sorted(one.subject for one in facts) == ["a", "c"]


def test_other_contrasts_follow_the_first_t1w_of_their_session() -> None:
    t1w = [scan_at("/b_T1w", session="1"), scan_at("/a_T1w", session="1"), scan_at("/0_T1w", session="2")]
    flair, lone = (scan_at("/FLAIR", session=session, modality=Modality.FLAIR) for session in "13")
    others = [replace(flair, source="other"), replace(flair, mask="/mask"), replace(flair, subject="b")]
    scans = [*t1w, flair, lone, *others]
    before = {one: ScanFacts(one, "c", "i", (1.0, 1.0, 1.0), "RAS", None) for one in scans}
    strip = DataConfig(head="strip")
    after = with_t1w(before, strip)
    assert [one for one in after if one.t1w] == [replace(flair, t1w=t1w[1])]
    assert len(after) == len(before)
    assert with_t1w(before, DataConfig()) == before
    assert with_t1w(before, DataConfig(head="strip", strip_command="x {input} {mask}")) == before


def test_another_t1w_makes_another_identity() -> None:
    t1w, flair = scan_at("/T1w"), scan_at("/FLAIR", modality=Modality.FLAIR)

    def identity(content: str) -> str:
        told = {t1w: content, flair: "f"}
        facts = {one: ScanFacts(one, text, text, (1.0, 1.0, 1.0), "RAS", None) for one, text in told.items()}
        return with_t1w(facts, DataConfig(head="strip"))[replace(flair, t1w=t1w)].identity

    assert len({identity("one"), identity("two"), "f"}) == 3
