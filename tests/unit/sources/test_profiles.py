"""Data sets by the names of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.matching import Profile, find_profile_scans
from mrigen.sources.options import SourceOptions
from mrigen.sources.profiles import PROFILES
from mrigen.storage import Location
from tests.fake_scans import found, kind_of, touch

OPEN_MS = [
    f"patient{number}/{token}_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
    for number in (19, 26)
    for token in ("T1", "T1POST", "T2", "FLAIR")
]
GOLD = "patient19/GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz"


def test_a_data_set_is_one_declaration(tmp_path: Path) -> None:
    profile = Profile(
        name="mine",
        pattern=r"(?P<subject>p\d+)/(?P<session>v\d)_(?P<token>\w+)\.nii",
        modalities={"pd": Modality.PD},
        pathology=Pathology.DEMENTIA,
        licence="mine",
        masks=(r"p\d+/lesions\.nii",),
        brain_mask=("{session}_brain.nii",),
        lesions=("{session}_lesions.nii", "lesions.nii"),
    )
    files = ["p7/v2_pd.nii", "p7/v2_ct.nii", "p7/lesions.nii", "p7/v2_brain.nii", "p7/table.csv"]
    (claim,) = find_profile_scans(Location.parse(tmp_path), files, (*PROFILES, profile), SourceOptions())
    (scan,) = claim.scans
    assert (scan.subject, scan.session, scan.modality, scan.source) == ("p7", "v2", Modality.PD, "mine")
    assert scan.mask == f"{tmp_path}/p7/v2_brain.nii"
    assert scan.lesions == f"{tmp_path}/p7/lesions.nii"
    assert claim.masks == [f"{tmp_path}/p7/lesions.nii"]
    assert claim.paths == {"p7/v2_pd.nii", "p7/lesions.nii"}


def test_tumours_other_than_glioblastoma_are_refused(tmp_path: Path) -> None:
    refused = {
        "BraTS-MET-00001-000/BraTS-MET-00001-000-t1c.nii.gz": "brain metastases",
        "BraTS-MEN-00001-000/BraTS-MEN-00001-000-t1n.nii.gz": "meningioma",
        "BraTS-MEN-RT-0001-1/BraTS-MEN-RT-0001-1_t1c.nii.gz": "meningioma",
        "BraTS-PED-00001-000/BraTS-PED-00001-000-t2f.nii.gz": "a tumour of a child",
        "BraTS-SSA-00001-000/BraTS-SSA-00001-000-t2w.nii.gz": "its name does not tell",
        "BraTS-GoAT-00001/BraTS-GoAT-00001-t2w.nii.gz": "its name does not tell",
        "LGG/Brats18_TCIA10_1/Brats18_TCIA10_1_t1.nii.gz": "low-grade glioma",
    }
    masks = ["BraTS-MET-00001-000-seg.nii.gz", "BraTS-MEN-RT-0001-1_gtv.nii.gz", "LGG/x/Brats18_TCIA10_1_seg.nii.gz"]
    table = found(touch(tmp_path, *refused, *masks, "BraTS-GLI-00001-000-t1c-voided.nii.gz"))
    assert table.scans == ()
    reasons = {item.path[len(str(tmp_path)) + 1 :]: item for item in table.rejected}
    assert set(reasons) == set(refused)
    for path, words in refused.items():
        assert words in reasons[path].reason
        assert reasons[path].fault == "label"
        assert "list it in a manifest" in reasons[path].reason
    assert len(table.masks) == 3


@pytest.mark.parametrize(
    ("paths", "taken"),
    [
        (["UCSF-PDGM-0004_T1.nii.gz", "UCSF-PDGM-0004_T1_bias.nii.gz"], "UCSF-PDGM-0004_T1_bias.nii.gz"),
        (["UPENN-GBM-00001_11_T2_unstripped.nii.gz", "UPENN-GBM-00001_11_T2.nii.gz"], "UPENN-GBM-00001_11_T2.nii.gz"),
        (["training01_01_pd.nii", "training01_01_pd_pp.nii"], "training01_01_pd_pp.nii"),
        (["raw/patient1/T1W.nii.gz", "coregistered/patient1/T1W.nii.gz"], "coregistered/patient1/T1W.nii.gz"),
        (["raw/patient19/T1WKS.nii.gz", OPEN_MS[1]], OPEN_MS[1]),
    ],
)
def test_of_several_forms_of_a_scan_one_is_taken(tmp_path: Path, paths: list[str], taken: str) -> None:
    table = found(touch(tmp_path, *paths))
    assert [scan.path for scan in table.scans] == [f"{tmp_path}/{taken}"]
    assert table.rejected == ()
    (alone,) = found(touch(tmp_path / "alone", paths[0])).scans
    assert alone.modality is table.scans[0].modality


def test_another_session_or_run_is_another_scan(tmp_path: Path) -> None:
    folder = touch(tmp_path, "UCSF-PDGM-0004_T1.nii.gz", "UCSF-PDGM-0004_FU003d_T1_bias.nii.gz")
    assert sorted(scan.session for scan in found(folder).scans) == ["", "FU003d"]
    folder = touch(tmp_path / "fomo", "sub_1/ses_1/t1.nii.gz", "sub_1/ses_1/t1_2.nii.gz", "sub_1/ses_1/adc.nii.gz")
    (tmp_path / "fomo/participants.tsv").write_text("participant_id\tgroup\nsub_1\tControl\n")
    table = found(folder)
    assert len(table.scans) == 2
    assert kind_of(table) == "FOMO60K (2 scans; other files left out: 1)"


@pytest.mark.parametrize(
    ("scan", "masks", "taken"),
    [
        (
            "images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1.nii.gz",
            [
                "automated_segm/UPENN-GBM-00001_11_automated_approx_segm.nii.gz",
                "images_segm/UPENN-GBM-00001_11_segm.nii.gz",
            ],
            "images_segm/UPENN-GBM-00001_11_segm.nii.gz",
        ),
        (
            "images_structural_unstripped/UPENN-GBM-00002_11/UPENN-GBM-00002_11_T1_unstripped.nii.gz",
            [
                "automated_segm/UPENN-GBM-00002_11_automated_approx_segm.nii.gz",
                "images_segm/UPENN-GBM-00001_11_segm.nii.gz",
            ],
            "automated_segm/UPENN-GBM-00002_11_automated_approx_segm.nii.gz",
        ),
        (
            "UCSF-PDGM-0004_FU003d_T1.nii.gz",
            ["UCSF-PDGM-0004_tumor_segmentation.nii.gz", "UCSF-PDGM-0004_FU003d_tumor_segmentation.nii.gz"],
            "UCSF-PDGM-0004_FU003d_tumor_segmentation.nii.gz",
        ),
        ("UCSF-PDGM-0004_FU003d_T1.nii.gz", ["UCSF-PDGM-0004_tumor_segmentation.nii.gz"], ""),
        ("preprocessed/training01_02_pd_pp.nii", ["masks/training01_02_mask1.nii"], "masks/training01_02_mask1.nii"),
        ("orig/training01_02_pd.nii.gz", ["masks/training01_02_mask1.nii"], ""),
        ("raw/patient01/FLAIR.nii.gz", ["coregistered/patient01/consensus_gt.nii.gz"], ""),
        (OPEN_MS[0], [GOLD], GOLD),
    ],
)
def test_a_scan_has_the_lesions_of_its_own_visit_and_space(
    tmp_path: Path, scan: str, masks: list[str], taken: str
) -> None:
    (one,) = found(touch(tmp_path, scan, *masks)).scans
    assert one.lesions == (f"{tmp_path}/{taken}" if taken else "")


def test_why_masks_go_with_no_scan_is_told(tmp_path: Path) -> None:
    masks = [f"training01_0{visit}_mask{rater}.nii" for visit in (1, 2, 3) for rater in (1, 2)]
    assert kind_of(found(touch(tmp_path, "training01_01_pd_pp.nii", "training01_02_pd.nii", *masks))) == (
        "ISBI-2015 (2 scans; masks in another space than the scans: 1; masks of other raters, or of no scan here: 4)"
    )
    files = [f"Brats18_{name}_{what}.nii" for name in "ab" for what in ("t1", "seg")]
    (touch(tmp_path / "brats", *files).local / "who.csv").write_text("subject,dx\nBrats18_a,MS\nBrats18_b,\n")
    assert kind_of(found(tmp_path / "brats", table="who.csv", values={"": "skip"})) == (
        "BraTS 2018-21 (1 scan; masks of scans that are not taken: 1; skipped: 1)"
    )


OASIS = "OAS1_0001_MR1/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.hdr"


@pytest.mark.parametrize(
    ("rows", "values", "outcome"),
    [
        ("OAS1_0001_MR1,0", {}, Pathology.HEALTHY),
        ("OAS1_0001_MR1,0.0", {}, Pathology.HEALTHY),
        ("OAS1_0001_MR1,0.5", {}, Pathology.DEMENTIA),
        ("OAS1_0001_MR1,2", {}, Pathology.DEMENTIA),
        ("OAS1_0001_MR1,0.5", {"0.5": "skip"}, None),
        ("OAS1_0001_MR1,", {"": "Healthy"}, Pathology.HEALTHY),
        ("OAS1_0001_MR1,N/A", {"": "Healthy"}, Pathology.HEALTHY),
        (
            "OAS1_0001_MR1,",
            {},
            "column CDR, ID OAS1_0001_MR1: the value is empty; say what it means by values.=PATHOLOGY",
        ),
        ("OAS1_0001_MR1,0.7", {}, "'0.7' is no Clinical Dementia Rating; say what it means by values.0.7=PATHOLOGY"),
        ("OAS1_0001_MR2,0", {}, "oasis_cross-sectional.csv has no row with ID OAS1_0001_MR1"),
        ("OAS1_0001_MR1,0\nOAS1_0001_MR1,1", {}, "rows of ID OAS1_0001_MR1 contradict each other"),
    ],
)
def test_dementia_by_the_rating(
    tmp_path: Path, rows: str, values: dict[str, str], outcome: Pathology | str | None
) -> None:
    folder = touch(tmp_path, OASIS, "IXI012-HH-1211-T1.nii.gz")
    (tmp_path / "oasis_cross-sectional.csv").write_text(f"ID,CDR\n{rows}\n")
    table = found(folder, values=values, orientation="RAS")
    scans = [scan for scan in table.scans if scan.source == "OASIS-1"]
    assert len(table.scans) - len(scans) == 1
    if isinstance(outcome, Pathology):
        assert [(scan.pathology, scan.orientation) for scan in scans] == [(outcome, "RAS")]
        assert table.rejected == ()
    elif outcome is None:
        assert table.rejected == ()
        assert scans == []
        assert kind_of(table) == "IXI (1 scan)"
    else:
        assert outcome in table.rejected[0].reason
        assert table.rejected[0].fault == "label"


def test_the_visit_nearest_to_the_session_counts(tmp_path: Path) -> None:
    sessions = ("d0049", "d0050", "d0051", "d0900")
    folder = touch(tmp_path, *(f"sub-OAS30001_ses-{session}_T1w.nii.gz" for session in sessions))
    rows = ["OAS30001,100,1", "OAS30001,0,0", "OAS30001,800,0", "OAS30001,900,"]
    (tmp_path / "OASIS3_UDSb4_cdr.csv").write_text("\n".join(["OASISID,days_to_visit,CDRTOT", *rows]))
    table = found(folder)
    healthy = {scan.session: scan.pathology is Pathology.HEALTHY for scan in table.scans}
    assert healthy == {"d0049": True, "d0050": True, "d0051": False, "d0900": True}


def test_a_missing_table_is_told_and_can_be_named(tmp_path: Path) -> None:
    folder = touch(tmp_path / "oasis", OASIS)
    (item,) = found(folder).rejected
    told = "the pathology is in a table, oasis_cross-sectional*.csv, which is not here: name it by table=FILE"
    assert item.reason == f"{item.path}: {told}"
    (tmp_path / "cdr.csv").write_text("ID,CDR\nOAS1_0001_MR1,1\n")
    (scan,) = found(folder, table=str(tmp_path / "cdr.csv")).scans
    assert scan.pathology is Pathology.DEMENTIA
    (tmp_path / "oasis/mine.tsv").write_text("subject\tdx\nOAS1_0001\tMS\n")
    (scan,) = found(folder, table="mine.tsv", subject_column="subject").scans
    assert scan.pathology is Pathology.SCLEROSIS
    with pytest.raises(InputError, match=r"table 'gone\.tsv': no such file"):
        found(folder, table="gone.tsv")


def test_a_users_table_goes_before_the_sets_own_word(tmp_path: Path) -> None:
    names = [f"IXI{number:03d}-HH-1211-T1.nii.gz" for number in (1, 2, 3, 4)]
    folder = touch(tmp_path, *names)
    (tmp_path / "t.csv").write_text("ID,dx\nIXI001,AD\nIXI002,flu\nIXI003,HC\nIXI003,AD\n")
    table = found(folder, table="t.csv")
    assert [(scan.subject, scan.pathology) for scan in table.scans] == [("IXI001", Pathology.DEMENTIA)]
    reasons = [item.reason.split(".nii.gz: ")[1] for item in table.rejected]
    assert reasons[0].startswith("t.csv, column dx, IXI002: unknown pathology 'flu'")
    assert reasons[1] == "t.csv, column dx, IXI003: rows contradict each other: AD, HC"
    assert reasons[2] == "IXI004 is not in t.csv"
    (item, *_) = found(folder, table="t.csv", pathology_column="group").rejected
    assert "t.csv: columns ID, dx: it needs ID and group: name others by subject_column" in item.reason
