"""BIDS names, and trees as users have them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mrigen.bids_names import bids_path
from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.prepare.confounds import Traits, find_confounds
from mrigen.sources.bids import bids_roots, find_bids_scans
from mrigen.sources.listing import list_files
from mrigen.sources.options import SourceOptions
from mrigen.sources.scans import ClaimedFiles
from mrigen.storage import Location
from tests.fake_scans import touch


def found(root: Path, **options: object) -> ClaimedFiles:
    place = Location.parse(root)
    return find_bids_scans(place, list_files(place).files, SourceOptions.model_validate(options))


def participants(root: Path, text: str) -> None:
    (root / "participants.tsv").write_text(text)


@pytest.mark.parametrize("modality", Modality)
def test_our_names_are_read_back_as_what_they_say(tmp_path: Path, modality: Modality) -> None:
    path = bids_path("a1", modality, description="synth", session="02")
    touch(tmp_path, path)
    participants(tmp_path, "participant_id\tgroup\nsub-a1\tMS\n")
    (scan,) = found(tmp_path).scans
    assert (scan.modality, scan.subject, scan.session) == (modality, "a1", "02")


def test_names_are_those_of_the_specification() -> None:
    assert bids_path("07", Modality.T1CE) == "sub-07/anat/sub-07_ce-gadolinium_T1w.nii.gz"
    assert bids_path("07", Modality.PD, description="synth") == "sub-07/anat/sub-07_desc-synth_PDw.nii.gz"
    for bad in ("a_b", "a-b", "a/b", "", "ü"):
        with pytest.raises(ValueError, match="letters and digits"):
            bids_path(bad, Modality.T1W)


def test_a_tree_of_a_user(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_run-2_acq-mprage_T1w.nii",
        "sub-01/anat/sub-01_ce-GADAVIST_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/sub-01_T2starw.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "sub-02/ses-A/anat/sub-02_ses-A_FLAIR.nii.gz",
        "sub-03/anat/sub-03_T2w.nii.gz",
        "sub-04/anat/sub-04_PDw.nii.gz",
        "sub-05/anat/sub-05_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
        ".git/annex/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/.heudiconv/anat/sub-01_T1w.nii.gz",
    )
    participants(
        tmp_path,
        "\ufeffparticipant_id\tage\tDiagnosis \r\nsub-01\t50\tGBM\r\n02\t40\tMS\r\nsub-03\t3\tflu\r\nsub-04\r\n",
    )
    (tmp_path / "dataset_description.json").write_text('{"Name": "mine", "License": "CC0"}')
    table = found(tmp_path)
    assert {
        Path(scan.path).relative_to(tmp_path).as_posix(): (scan.subject, scan.session, scan.pathology, scan.modality)
        for scan in table.scans
    } == {
        "sub-01/anat/sub-01_T1w.nii.gz": ("01", "", Pathology.GLIOBLASTOMA, Modality.T1W),
        "sub-01/anat/sub-01_run-2_acq-mprage_T1w.nii": ("01", "", Pathology.GLIOBLASTOMA, Modality.T1W),
        "sub-01/anat/sub-01_ce-GADAVIST_T1w.nii.gz": ("01", "", Pathology.GLIOBLASTOMA, Modality.T1CE),
        "sub-02/ses-A/anat/sub-02_ses-A_FLAIR.nii.gz": ("02", "A", Pathology.SCLEROSIS, Modality.FLAIR),
    }
    assert {(scan.source, scan.licence) for scan in table.scans} == {("mine", "CC0")}
    reasons = {Path(item.path).name: (item.fault, item.reason) for item in table.rejected}
    assert reasons.pop("sub-01_T2starw.nii.gz")[0] == "name"
    assert set(reasons) == {"sub-03_T2w.nii.gz", "sub-04_PDw.nii.gz", "sub-05_T1w.nii.gz"}
    assert all(fault == "label" for fault, _ in reasons.values())
    assert "'flu'" in reasons["sub-03_T2w.nii.gz"][1]
    assert "sub-05 is not in participants.tsv" in reasons["sub-05_T1w.nii.gz"][1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "missing"),
        ("", "participant_id"),
        ("participant_id\tage\nsub-01\t3\n", "participant_id, age"),
        ("id\tgroup\n1\tMS\n", "needs participant_id"),
    ],
)
def test_a_tree_that_tells_no_pathology_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "dataset_description.json")
    if text is not None:
        participants(tmp_path, text)
    with pytest.raises(InputError, match=words) as caught:
        found(tmp_path)
    assert "participants.tsv" in str(caught.value)
    assert "pathology" in str(caught.value)


def test_broken_tables_and_descriptions_are_told_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_bytes(b"participant_id\tgroup\nsub-01\t\xff\xfe\n")
    with pytest.raises(InputError, match=r"participants\.tsv: not a table in UTF-8"):
        found(tmp_path)
    participants(tmp_path, "participant_id\tgroup\nsub-01\tMS\n")
    for text in ("[1]", "{"):
        (tmp_path / "dataset_description.json").write_text(text)
        with pytest.raises(InputError, match=r"dataset_description\.json"):
            found(tmp_path)


def test_a_tree_is_known_by_its_table_or_its_description() -> None:
    assert bids_roots(["sub-1/anat/sub-1_T1w.nii"]) == ()
    assert bids_roots(["participants.tsv"]) == ("",)
    files = [
        "dataset_description.json",
        "derivatives/x/dataset_description.json",
        "more/b/participants.tsv",
        "more/b/sourcedata/participants.tsv",
    ]
    assert bids_roots(files) == ("", "more/b")


def test_a_site_is_a_source_of_its_own_and_its_pathology_is_told(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-{k}/anat/sub-{k}_T1w.nii.gz" for k in range(1, 6)))
    rows = ("1\tcontrol\tA", "2\tMS\tA", "3\tAD\tB", "sub-3\tAD\tC", "4\tAD\tB", "5\tcontrol\tn/a")
    participants(tmp_path, "\n".join(("participant_id\tdx\tSite", *rows)))
    (tmp_path / "dataset_description.json").write_text('{"Name": "mine"}')
    scans = found(tmp_path).scans
    sources = ["mine, site A", "mine, site A", "mine, site B or C", "mine, site B", "mine"]
    assert [scan.source for scan in sorted(scans, key=lambda scan: scan.subject)] == sources
    traits = (Traits(scan.source, scan.pathology, scan.modality, 1.0, True) for scan in scans)
    told = "every Dementia scan is from mine, site B or mine, site B or C, where no other pathology is"
    assert [line.partition(":")[0] for line in find_confounds(Counter(traits))] == [told]


def test_a_session_may_have_a_diagnosis_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-1/ses-{ses}/anat/sub-1_ses-{ses}_T1w.nii" for ses in ("M00", "M24", "M36")))
    (tmp_path / "sub-1/sub-1_sessions.tsv").write_text("session_id\tdiagnosis\nses-M00\tCN\nses-M24\tAD\nses-M36\t\n")
    participants(tmp_path, "participant_id\tgroup\nsub-1\tMS\n")

    def labels() -> dict[str, Pathology]:
        return {scan.session: scan.pathology for scan in found(tmp_path).scans}

    sessions = {"M00": Pathology.HEALTHY, "M24": Pathology.DEMENTIA}
    assert labels() == {**sessions, "M36": Pathology.SCLEROSIS}
    participants(tmp_path, "participant_id\tage\nsub-1\t70\n")
    assert labels() == sessions


def test_a_user_says_what_the_words_of_the_table_mean(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-{subject}/anat/sub-{subject}_T1w.nii" for subject in "1234"))
    participants(tmp_path, "participant_id\tgroup\tarm\nsub-1\tMCI\tx\nsub-2\tEMCI\tx\nsub-3\tn/a\tx\nsub-4\tLMCI\tx\n")
    table = found(tmp_path, values={"mci": "Dementia", "EMCI": "skip", "": "Healthy"})
    assert {scan.subject: scan.pathology for scan in table.scans} == {"1": Pathology.DEMENTIA, "3": Pathology.HEALTHY}
    assert table.notes == {"skipped": 1}
    (item,) = table.rejected
    assert item.reason.startswith(f"{item.path}: participants.tsv, column group, sub-4: unknown pathology 'LMCI'")
    assert item.reason.endswith("by values.LMCI=PATHOLOGY, or values.LMCI=skip")
    table = found(tmp_path, pathology_column="arm", values={"x": "MS"})
    assert {scan.pathology for scan in table.scans} == {Pathology.SCLEROSIS}
    assert len(table.scans) == 4


def test_a_user_may_bring_a_table_or_force_the_labels(tmp_path: Path) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T2w.nii", "dataset_description.json")
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "clinic.csv").write_text("who,told\n1,GBM\n")
    scans = found(tmp_path, table="clinic.csv", subject_column="who", pathology_column="told").scans
    assert [scan.pathology for scan in scans] == [Pathology.GLIOBLASTOMA] * 2
    scans = found(tmp_path, pathology="AD", modality="PD").scans
    assert {(scan.pathology, scan.modality) for scan in scans} == {(Pathology.DEMENTIA, Modality.PD)}


def test_rows_that_contradict_each_other_and_names_that_bids_does_not_know_are_told(tmp_path: Path) -> None:
    names = ("sub-1/anat/sub-1_T1w.nii.gz", "sub-é/anat/sub-é_T1w.nii.gz", "sub-1/anat/sub-1_T1map.nii.gz")
    touch(tmp_path, *names)
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tdiagnosis\nsub-1\tMS\nsub-1\tAD\n")
    claim = found(tmp_path)
    assert not claim.scans
    unused, contradicted, misnamed = claim.rejected
    assert "sub-1: rows contradict each other" in contradicted.reason
    assert "the suffix 'T1map' is not taken" in unused.reason
    assert "letters and digits only" in misnamed.reason
    table.write_text("participant_id\tdiagnosis\nsub-1\tMS\nsub-1\tMS\n")
    assert len(found(tmp_path).scans) == 1


def test_suffixes_that_are_not_taken_and_odd_case_are_told_by_name(tmp_path: Path) -> None:
    suffixes = ("T1map", "T1rho", "T2star", "PDT2", "FLASH")
    touch(tmp_path, *(f"sub-1/anat/sub-1_{suffix}.nii.gz" for suffix in ("T1w", "t2W", "mask", *suffixes)))
    touch(tmp_path, "sub-1/Anat/sub-1_FLAIR.nii", "sub-1/func/sub-1_bold.nii")
    participants(tmp_path, "participant_id\tgroup\nsub-1\tMS\n")
    claim = found(tmp_path)
    assert [scan.modality for scan in claim.scans] == [Modality.T1W]
    assert claim.notes == {"other files left out": 2}
    told = {Path(item.path).name.split("_")[1].split(".")[0]: item for item in claim.rejected}
    assert told.keys() == {*suffixes, "t2W", "FLAIR"}
    taken = "T1w, T2w, FLAIR, PDw"
    for suffix in suffixes:
        assert told[suffix].fault == "name"
        assert f"the suffix {suffix!r} is not taken: taken are {taken}" in told[suffix].reason
    assert f"the suffix 't2W' is in odd case: BIDS has {taken}: rename it" in told["t2W"].reason
    assert "names have small letters: rename it" in told["FLAIR"].reason


@pytest.mark.parametrize(
    "text",
    [
        'participant_id  \tdiagnosis\tnote \nsub-1\tMS\tsaid "fine"\nsub-2\tHC\n',
        'participant_id\tdiagnosis\theight\t\t\nsub-1\tMS\t"5 ft 2""\t\t\nsub-2\tHC\t"tall\t\n',
        '"participant_id"\t"diagnosis"\r\n"sub-1"\t"MS"\r\n\r\n"sub-2"\t"HC"\r\n',
        'participant_id\tdiagnosis\tnote\rsub-1\tMS\rsub-2\tHC\t"\r',
        "\tparticipant_id\tdiagnosis\tdiagnosed by\n0\tsub-1\tMS\t\n1\tsub-2\tHC\tA, B\n",
    ],
    ids=["blanks and short rows", "quotes and trailing tabs", "quoted, Windows", "old Mac", "an index"],
)
def test_tables_of_participants_as_they_are_found(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [scan.pathology for scan in found(tmp_path).scans] == [Pathology.SCLEROSIS, Pathology.HEALTHY]


def test_lesions_in_the_space_of_the_scans_go_with_them(tmp_path: Path) -> None:
    masks = {
        "1": ("derivatives/lesions/sub-1/anat/sub-1_desc-lesion_mask.nii.gz",),
        "2": ("derivatives/raters/sub-2/ses-a/anat/sub-2_ses-a_label-lesion_desc-consensus_mask.nii.gz",),
        "3": ("sub-3/anat/sub-3_label-lesion_roi.nii",),
        "4": ("derivatives/x/sub-4/anat/sub-4_space-MNI152NLin6Asym_label-lesion_mask.nii.gz",),
        "5": tuple(f"derivatives/rater{k}/sub-5/anat/sub-5_label-lesion_mask.nii.gz" for k in (1, 2)),
        "6": ("derivatives/x/sub-6/anat/sub-6_desc-brain_mask.nii.gz",),
    }
    masks["7"] = ("derivatives/labels/sub-7/anat/sub-7_T2w_label-lesion_seg.nii.gz",)
    scans = {n: f"sub-{n}/anat/sub-{n}_FLAIR.nii.gz" for n in "134567"}
    scans["2"] = "sub-2/ses-a/anat/sub-2_ses-a_FLAIR.nii.gz"
    touch(tmp_path, *scans.values(), *(path for paths in masks.values() for path in paths))
    participants(tmp_path, "participant_id\tgroup\n" + "".join(f"sub-{n}\tMS\n" for n in masks))
    claim = found(tmp_path)
    assert {scan.subject: scan.lesions.removeprefix(f"{tmp_path}/") for scan in claim.scans} == {
        **{n: masks[n][0] for n in "1237"},
        **dict.fromkeys("456", ""),  # in another space; nobody can tell which; of the brain
    }
    assert len(claim.masks) == 6
    assert not claim.rejected
    # the mask among the raw scans is no file left out
    assert claim.notes == {"masks of which a subject has several, so that none is taken": 2}
