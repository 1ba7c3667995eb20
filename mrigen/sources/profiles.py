"""Public data sets by the names of their files: one declaration each."""

from __future__ import annotations

from mrigen.labels import Modality, Pathology
from mrigen.sources.label_tables import LabelTable, pathology_of_cdr
from mrigen.sources.matching import Profile

NII = r"\.nii(?:\.gz)?"
T1W, T1CE, T2W, FLAIR = Modality.T1W, Modality.T1CE, Modality.T2W, Modality.FLAIR
OPEN_MS_LICENCE = "CC BY; Lesjak et al., Neuroinformatics 2017, doi 10.1007/s12021-017-9348-7"
BRATS_CASE = r"[Bb]ra[Tt][Ss](?:17|18|19|20|2021)_\w+?"


def _brats_2023(challenge: str) -> str:
    return rf"BraTS-{challenge}-(?!.*[-_](?:seg|gtv){NII}).*{NII}"


PROFILES = (
    Profile(
        name="BraTS 2018-21",
        pattern=rf"(?P<subject>{BRATS_CASE})_(?P<token>t1|t1ce|t2|flair){NII}",
        pathology=Pathology.GLIOBLASTOMA,
        masks=(rf"{BRATS_CASE}_seg{NII}",),
        refused={rf"LGG/(?:[^/]+/)*{BRATS_CASE}_(?:t1|t1ce|t2|flair){NII}": "low-grade glioma by its folder LGG"},
        lesions=("{subject}_seg.nii.gz", "{subject}_seg.nii"),
    ),
    Profile(
        name="BraTS 2023+",
        # from 2024 on GLI is after treatment
        pattern=rf"(?P<subject>BraTS-GLI-\d+)-(?P<session>\d+)-(?P<token>t1n|t1c|t2w|t2f){NII}",
        pathology=Pathology.GLIOBLASTOMA,
        masks=(rf"BraTS-.*[-_](?:seg|gtv){NII}",),
        others=(rf"BraTS-GLI-\d+-\d+-.*{NII}",),
        refused={
            _brats_2023("METS?"): "brain metastases (BraTS-MET), not glioblastoma",
            _brats_2023("MEN"): "meningioma (BraTS-MEN), not glioblastoma",
            _brats_2023("PEDs?"): "a tumour of a child (BraTS-PED), not glioblastoma",
            _brats_2023("SSA"): "a glioma or another tumour (BraTS-SSA): its name does not tell",
            _brats_2023("GoAT"): "a tumour of any kind (BraTS-GoAT): its name does not tell",
        },
        lesions=("{subject}-{session}-seg.nii.gz",),
    ),
    Profile(
        name="MSD Task01",
        pattern=rf"images(?:Tr|Ts)/(?P<subject>BRATS_\d+){NII}",
        frames=(FLAIR, T1W, T1CE, T2W),
        pathology=Pathology.GLIOBLASTOMA,
        licence="CC BY-SA 4.0; Medical Segmentation Decathlon",
        masks=(rf"labelsTr/BRATS_\d+{NII}",),
        lesions=("../labelsTr/{subject}.nii.gz",),
    ),
    Profile(
        name="UPENN-GBM",
        # session 11: before surgery, 21: after
        pattern=rf"(?P<subject>UPENN-GBM-\d+)_(?P<session>\d+)_(?P<token>T1|T1GD|T2|FLAIR)(?P<form>_unstripped)?{NII}",
        forms=("", "_unstripped"),
        pathology=Pathology.GLIOBLASTOMA,
        licence="CC BY 4.0; UPENN-GBM, The Cancer Imaging Archive, doi 10.7937/TCIA.709X-DN49",
        masks=(rf"UPENN-GBM-\d+_\d+_(?:automated_approx_)?segm{NII}",),
        others=(rf"UPENN-GBM-\d+_\d+_\w+{NII}",),
        lesions=(
            "{subject}_{session}_segm.nii.gz",
            "../../images_segm/{subject}_{session}_segm.nii.gz",
            "{subject}_{session}_automated_approx_segm.nii.gz",
            "../../automated_segm/{subject}_{session}_automated_approx_segm.nii.gz",
        ),
    ),
    Profile(
        name="UCSF-PDGM",
        # _bias: corrected for the bias field
        pattern=(
            r"(?P<case>(?P<subject>UCSF-PDGM-\d+)(?:_(?P<session>FU\d+d))?)_"
            rf"(?P<token>T1|T1c|T2|FLAIR)(?P<form>_bias)?{NII}"
        ),
        forms=("_bias", ""),
        pathology=Pathology.GLIOBLASTOMA,
        licence="CC BY 4.0; UCSF-PDGM, The Cancer Imaging Archive, doi 10.7937/tcia.bdgf-8v37",
        masks=(rf"UCSF-PDGM-\d+(?:_FU\d+d)?_tumor_segmentation{NII}",),
        others=(rf"UCSF-PDGM-\d+\w*{NII}",),
        brain_mask=("{case}_brain_segmentation.nii.gz",),
        lesions=("{case}_tumor_segmentation.nii.gz",),
    ),
    Profile(
        name="IXI",
        pattern=rf"(?P<subject>IXI\d{{3}})-(?:Guys|HH|IOP)-\d{{4}}-(?P<token>T1|T2|PD){NII}",
        pathology=Pathology.HEALTHY,
        licence="CC BY-SA 3.0; IXI data set, brain-development.org",
        others=(rf"IXI\d{{3}}-(?:Guys|HH|IOP)-\d{{4}}-(?:MRA|DTI.*){NII}",),
    ),
    Profile(
        name="OASIS-1",
        # masked: the brain alone
        pattern=rf"(?P<subject>OAS1_\d{{4}})_(?P<session>MR\d)_mpr_n\d_anon_111_t88_(?P<form>masked_)?gfc(?:\.hdr|{NII})",
        modalities={"": T1W},
        forms=("masked_", ""),
        pathology=LabelTable(
            file=r"oasis_cross-sectional.*\.csv",
            keys={"ID": "{subject}_{session}"},
            column="CDR",
            parse=pathology_of_cdr,
        ),
        masks=(rf"OAS1_\d{{4}}_MR\d_\w+_fseg(?:\.hdr|{NII})",),
        others=(rf"OAS1_\d{{4}}_MR\d_[\w-]+(?:\.hdr|{NII})",),
    ),
    Profile(
        name="OASIS-3",
        # runs are scans of their own
        pattern=rf"sub-(?P<subject>OAS3\d+)_sess?-(?P<session>d\d+)(?:_[a-z]+-[^_/]+)*_(?P<token>T1w|T2w|FLAIR){NII}",
        pathology=LabelTable(
            file=r"OASIS3_UDSb4_cdr\.csv",
            keys={"OASISID": "{subject}"},
            column="CDRTOT",
            day="days_to_visit",
            parse=pathology_of_cdr,
        ),
        others=(rf"sub-OAS3\d+_\w[\w-]*{NII}",),
    ),
    Profile(
        name="ISBI-2015",
        # _pp: stripped and registered
        pattern=rf"(?P<subject>(?:training|test)\d\d)_(?P<session>\d\d)_(?P<token>mprage|t2|pd|flair)(?P<form>_pp)?{NII}",
        forms=("_pp", ""),
        pathology=Pathology.SCLEROSIS,
        masks=(rf"(?:training|test)\d\d_\d\d_mask\d{NII}",),
        lesions=("{subject}_{session}_mask1.nii", "../masks/{subject}_{session}_mask1.nii"),
        unmarked_forms=("",),
    ),
    Profile(
        name="open_ms_data cross-sectional, MNI",
        pattern=rf"(?P<subject>patient\d+)/(?P<token>T1|T1POST|T2|FLAIR)_N4_\w*_brain_N4_regtoMNI{NII}",
        pathology=Pathology.SCLEROSIS,
        licence=OPEN_MS_LICENCE,
        masks=(rf"patient\d+/GOLD_STANDARD_\w+{NII}",),
        family="open_ms_data cross-sectional",
        lesions=("GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz",),
    ),
    Profile(
        name="open_ms_data cross-sectional",
        # T1WKS: with contrast agent
        pattern=(
            r"(?:(?P<form>coregistered|raw)/)?(?P<subject>patient\d+)/(?:patient\d+_)?"
            rf"(?P<token>T1W|T1WKS|T2W|FLAIR){NII}"
        ),
        forms=("coregistered", "raw", ""),
        pathology=Pathology.SCLEROSIS,
        licence=OPEN_MS_LICENCE,
        masks=(rf"patient\d+/(?:patient\d+_)?(?:consensus_)?gt{NII}",),
        others=(rf"patient\d+/(?:patient\d+_)?brainmask{NII}",),
        brain_mask=("brainmask.nii.gz",),
        family="open_ms_data cross-sectional",
        lesions=("consensus_gt.nii.gz", "{subject}_consensus_gt.nii.gz"),
    ),
    Profile(
        name="open_ms_data longitudinal",
        pattern=(
            r"(?:(?P<form>coregistered|raw)/)?(?P<subject>patient\d+)/(?:patient\d+_)?"
            rf"(?P<session>study\d)_(?P<token>T1W|T2W|FLAIR)(?:reg)?{NII}"
        ),
        forms=("coregistered", "raw", ""),
        pathology=Pathology.SCLEROSIS,
        licence=OPEN_MS_LICENCE,
        brain_mask=("brainmask.nii.gz", "{subject}_brainmask.nii.gz"),
    ),
    Profile(
        name="MSSEG-2016",
        pattern=(
            r"(?P<subject>[^/]+)/(?:(?:[Rr]aw|[Pp]reprocessed)/)?"
            rf"(?P<token>3DFLAIR|3DT1|3DT1GADO|T2|DP)(?P<form>_preprocessed)?{NII}"
        ),
        modalities={"3dflair": FLAIR, "3dt1": T1W, "3dt1gado": T1CE},
        forms=("_preprocessed", ""),
        pathology=Pathology.SCLEROSIS,
        masks=(rf"(?:Consensus|ManualSegmentation_\d){NII}",),
        beside=rf"3D(?:FLAIR|T1)(?:_preprocessed)?{NII}",
        lesions=("Consensus.nii.gz",),
        unmarked_forms=("",),
    ),
    Profile(
        name="MSSEG-2016 by centre",
        pattern=(
            r"(?P<site>Center_\d+)/(?P<subject>Patient_\d+)/(?:Raw|Preprocessed)_Data/"
            rf"(?P<token>FLAIR|T1|GADO|T2|DP)(?P<form>_preprocessed)?{NII}"
        ),
        modalities={"gado": T1CE},
        forms=("_preprocessed", ""),
        pathology=Pathology.SCLEROSIS,
        masks=(rf"Center_\d+/Patient_\d+/Masks/\w+{NII}",),
        lesions=("../Masks/Consensus.nii.gz",),
        unmarked_forms=("",),
    ),
    Profile(
        name="Shifts MS",
        # patients are counted anew in every part of the set
        pattern=(
            r"(?:(?P<site>(?:(?:best|ljubljana|lausanne|msseg)/)?(?:train|(?:dev|eval)_(?:in|out)))/(?:\w+/)?)?"
            rf"(?P<subject>\d+)_(?P<token>T1|T1CE|T2|FLAIR|PD)_isovox{NII}"
        ),
        pathology=Pathology.SCLEROSIS,
        masks=(rf"\d+_gt_isovox{NII}",),
        others=(rf"\d+_isovox_fg_mask{NII}",),
        brain_mask=("{subject}_isovox_fg_mask.nii.gz", "../fg_mask/{subject}_isovox_fg_mask.nii.gz"),
        lesions=("{subject}_gt_isovox.nii.gz", "../gt/{subject}_gt_isovox.nii.gz"),
    ),
    Profile(
        name="MSLesSeg",
        # the timepoint, T1 to T4, stands before the contrast; the test set has none
        pattern=rf"(?P<subject>P\d+)(?:_(?P<session>T\d))?_(?P<token>T1|T2|FLAIR){NII}",
        pathology=Pathology.SCLEROSIS,
        masks=(rf"P\d+(?:_T\d)?_MASK{NII}",),
        lesions=("{subject}_{session}_MASK.nii.gz", "{subject}_MASK.nii.gz"),
    ),
    Profile(
        name="FOMO60K",
        # flair_2: one more scan of the session
        pattern=(
            r"(?:(?P<dataset>[^/]+)/)?(?P<subject>sub_\w+)/(?P<session>ses_\w+)/"
            rf"(?P<token>t1|mprage|t1c|t1ce|t1gd|t2|flair|pd)(?:_\d+)?{NII}"
        ),
        pathology=LabelTable(
            file=r"participants\.tsv",
            keys={"dataset": "{dataset}", "participant_id": "{subject}", "session_id": "{session}"},
            column="group",
        ),
        licence="see the terms of the data sets that FOMO60K is made of",
        others=(rf"sub_\w+/ses_\w+/[^/]+{NII}",),
    ),
)
