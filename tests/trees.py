"""Trees that imitate public data sets: their names, tables and header habits, with small made-up volumes.

Every volume differs from every other. Other contrasts beside the scans are never read and hold no image.
"""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from mrigen.sources.listing import is_scan_name
from mrigen.volume import Volume
from tests.fake_scans import made_up_scan

HEALTHY, GLIOBLASTOMA, SCLEROSIS, DEMENTIA = "Healthy", "Glioblastoma", "Sclerosis", "Dementia"


@dataclass(frozen=True)
class ExpectedScan:
    """What a scan of a tree is; `path` and `mask` are absolute."""

    path: str
    subject: str
    session: str
    pathology: str
    modality: str
    mask: str = ""
    frame: int | None = None


@dataclass
class Tree:
    """A tree on disk, and what is in it."""

    folder: Path
    pathology: str = ""
    """Of the scans that are added next."""
    scans: list[ExpectedScan] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    """Lesion masks and other labels."""
    names_only: bool = False
    """Files of images are empty."""

    def scan(
        self,
        path: str,
        subject: str,
        modality: str,
        *,
        session: str = "",
        mask: str = "",
        stripped: bool = True,
        axes: str = "RAS",
        expected: bool = True,
    ) -> None:
        """Write a scan with its axes stored as told; an `.hdr` is big-endian Analyze with its `.img`."""
        file = self._file(path)
        if expected:
            self.expect(path, subject, modality, session=session, mask=mask)
        if self.names_only:
            return
        image = _image(_volume(str(file), stripped), axes)
        if file.suffix == ".hdr":
            header = nibabel.AnalyzeHeader(endianness=">")
            header.set_data_dtype(np.dtype(">i2"))
            header.set_data_shape((*image.shape, 1))
            header.set_zooms((*image.header.get_zooms(), 1))
            voxels = np.asarray(image.dataobj)[..., None]
            nibabel.AnalyzeImage(voxels, None, header).to_filename(file)
        else:
            _save(image, file)

    def expect(
        self, path: str, subject: str, modality: str, *, session: str = "", mask: str = "", frame: int | None = None
    ) -> None:
        """Say what a scan is."""
        where = str(self.folder / mask) if mask else ""
        scan = ExpectedScan(str(self.folder / path), subject, session, self.pathology, modality, where, frame)
        self.scans.append(scan)

    def brain_mask(self, path: str) -> None:
        """Write the brain mask of the made-up scans."""
        volume = _base(True)
        _save(_image(Volume((volume.array > 0).astype(np.float32), volume.affine), "RAS"), self._file(path))

    def labels(self, *paths: str) -> None:
        """Write lesion masks of the made-up scans, a small box each."""
        base = _base(True)
        box = np.zeros_like(base.array)
        box[20:26, 26:32, 24:28] = 1
        for path in paths:
            file = self._file(path)
            if is_scan_name(path):
                _save(_image(Volume(box, base.affine), "RAS"), file)
            else:
                file.write_bytes(b"labels")
            self.masks.append(str(self.folder / path))

    def others(self, *paths: str) -> None:
        """Write what is named like another image of the set."""
        for path in paths:
            self._file(path).write_bytes(b"another image")

    def text(self, path: str, *lines: str) -> None:
        """Write a table or a note."""
        self._file(path).write_text("\n".join([*lines, ""]))

    def _file(self, path: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file


@functools.cache
def _base(stripped: bool) -> Volume:
    return made_up_scan(int(stripped), stripped=stripped)


def _volume(name: str, stripped: bool) -> Volume:
    """A volume of its own for every name: brighter or darker, with a spot in the middle."""
    base, seed = _base(stripped), zlib.crc32(name.encode())
    array = base.array * np.float32(1 + seed % 89 / 100)
    array[24, 28, 24] = seed % 30011
    return Volume(array, base.affine)


def _image(volume: Volume, axes: str) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(np.rint(volume.array).astype(np.int16), volume.affine)
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(tuple(axes)))
    return image.as_reoriented(turn)


def _save(image: nibabel.Nifti1Image, file: Path) -> None:
    data = image.to_bytes()
    file.write_bytes(gzip.compress(data, 1, mtime=0) if file.suffix == ".gz" else data)


def _brats_2018(tree: Tree) -> None:
    tree.pathology = GLIOBLASTOMA
    case = "HGG/Brats18_2013_2_1/Brats18_2013_2_1"
    for token, modality in {"t1": "T1w", "t1ce": "T1ce", "t2": "T2w", "flair": "FLAIR"}.items():
        tree.scan(f"{case}_{token}.nii.gz", "Brats18_2013_2_1", modality, axes="LPS")
    tree.labels(f"{case}_seg.nii.gz")


def _brats_2021(tree: Tree) -> None:
    tree.pathology = GLIOBLASTOMA
    for subject in ("BraTS2021_00000", "BraTS2021_01666"):
        for token, modality in {"t1": "T1w", "t1ce": "T1ce", "t2": "T2w", "flair": "FLAIR"}.items():
            tree.scan(f"{subject}/{subject}_{token}.nii.gz", subject, modality, axes="LPS")
        tree.labels(f"{subject}/{subject}_seg.nii.gz")


def _brats_2024(tree: Tree) -> None:
    tree.pathology = GLIOBLASTOMA
    for session in ("100", "101"):
        case = f"BraTS-GLI-00005-{session}"
        for token, modality in {"t1n": "T1w", "t1c": "T1ce", "t2w": "T2w", "t2f": "FLAIR"}.items():
            tree.scan(f"{case}/{case}-{token}.nii.gz", "BraTS-GLI-00005", modality, session=session, axes="LPS")
        tree.labels(f"{case}/{case}-seg.nii.gz")


def _msd(tree: Tree) -> None:
    tree.pathology = GLIOBLASTOMA
    file = tree.folder / "imagesTr/BRATS_001.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    frames: list[NDArray[np.float32]] = [_volume(f"{file} {frame}", True).array for frame in range(4)]
    _save(nibabel.Nifti1Image(np.stack(frames, axis=-1).astype(np.float32), _base(True).affine), file)
    for frame, modality in enumerate(("FLAIR", "T1w", "T1ce", "T2w")):
        tree.expect("imagesTr/BRATS_001.nii.gz", "BRATS_001", modality, frame=frame)
    tree.labels("labelsTr/BRATS_001.nii.gz")
    tree.others("imagesTr/._BRATS_001.nii.gz")
    tree.text("dataset.json", "{}")


def _upenn(tree: Tree) -> None:
    tree.pathology = GLIOBLASTOMA
    case = "images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11"
    for token, modality in {"T1": "T1w", "T1GD": "T1ce", "T2": "T2w", "FLAIR": "FLAIR"}.items():
        tree.scan(f"{case}_{token}.nii.gz", "UPENN-GBM-00001", modality, session="11", axes="LPS")
        unstripped = case.replace("structural", "structural_unstripped")
        tree.others(f"{unstripped}_{token}_unstripped.nii.gz")
    tree.labels("images_segm/UPENN-GBM-00001_11_segm.nii.gz")
    tree.labels("automated_segm/UPENN-GBM-00002_11_automated_approx_segm.nii.gz")
    tree.others("images_DTI/UPENN-GBM-00001_11/UPENN-GBM-00001_11_DTI_FA.nii.gz")


def _ucsf(tree: Tree) -> None:
    tree.pathology = GLIOBLASTOMA
    case = "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004"
    mask = f"{case}_brain_segmentation.nii.gz"
    for token, modality in {"T1": "T1w", "T1c": "T1ce", "T2": "T2w", "FLAIR": "FLAIR"}.items():
        tree.scan(f"{case}_{token}_bias.nii.gz", "UCSF-PDGM-0004", modality, mask=mask, axes="LPS")
        tree.others(f"{case}_{token}.nii.gz")
    tree.brain_mask(mask)
    tree.labels(f"{case}_tumor_segmentation.nii.gz")
    tree.others(*(f"{case}_{name}.nii.gz" for name in ("ADC", "ASL", "SWI_bias", "DTI_eddy_FA")))
    tree.others(f"{case}_brain_parenchyma_segmentation.nii.gz")


def _ixi(tree: Tree) -> None:
    tree.pathology = HEALTHY
    for case, tokens in {"IXI012-HH-1211": ("T1", "T2", "PD"), "IXI002-Guys-0828": ("T1",)}.items():
        for token in tokens:
            modality = {"T1": "T1w", "T2": "T2w", "PD": "PD"}[token]
            tree.scan(f"IXI-{token}/{case}-{token}.nii.gz", case[:6], modality, stripped=False, axes="PSR")
        tree.others(f"IXI-MRA/{case}-MRA.nii.gz", f"IXI-DTI/{case}-DTI-00.nii.gz")


def _oasis_1(tree: Tree) -> None:
    rows = ["ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"]
    for number, (session, rating, tree.pathology) in enumerate([("MR1", "0", HEALTHY), ("MR1", "0.5", DEMENTIA)], 1):
        subject = f"OAS1_{number:04d}"
        case = f"disc1/{subject}_{session}"
        image = f"{case}/PROCESSED/MPRAGE/T88_111/{subject}_{session}_mpr_n4_anon_111_t88"
        tree.scan(f"{image}_masked_gfc.hdr", subject, "T1w", session=session, axes="LAS")
        tree.scan(f"{image}_gfc.hdr", subject, "T1w", axes="LAS", stripped=False, expected=False)
        tree.others(f"{case}/RAW/{subject}_{session}_mpr-1_anon.hdr", f"{case}/RAW/{subject}_{session}_mpr-1_anon.img")
        tree.labels(f"{case}/FSL_SEG/{subject}_{session}_mpr_n4_anon_111_t88_masked_gfc_fseg.hdr")
        rows.append(f"{subject}_{session},F,R,74,2,3,29,{rating},1344,0.743,1.306,N/A")
    tree.text("oasis_cross-sectional.csv", *rows)


def _oasis_3(tree: Tree) -> None:
    files = "OASIS3_data_files/scans/UDSb4-Form_B4/resources/csv/files/OASIS3_UDSb4_cdr.csv"
    tree.text(
        files,
        "OASISID,OASIS_session_label,days_to_visit,age at visit,MMSE,CDRTOT",
        "OAS30001,OAS30001_UDSb4_d0000,0,65.2,28,0",
        "OAS30001,OAS30001_UDSb4_d3000,3000,73.4,22,0.5",
        "OAS30002,OAS30002_UDSb4_d0100,100,80.1,15,1",
    )
    for subject, session, tree.pathology in (
        ("OAS30001", "d0129", HEALTHY),
        ("OAS30001", "d2430", DEMENTIA),
        ("OAS30002", "d0653", DEMENTIA),
    ):
        case = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
        for run in ("_run-01", "_run-02"):
            tree.scan(f"{case}{run}_T1w.nii.gz", subject, "T1w", session=session, stripped=False)
        tree.scan(f"{case}_T2w.nii.gz", subject, "T2w", session=session, stripped=False)
        tree.others(f"{case}_acq-TOF_angio.nii.gz")


def _isbi(tree: Tree) -> None:
    tree.pathology = SCLEROSIS
    for session in ("01", "02"):
        for token, modality in {"mprage": "T1w", "t2": "T2w", "pd": "PD", "flair": "FLAIR"}.items():
            case = f"training01_{session}_{token}"
            tree.scan(f"training/training01/preprocessed/{case}_pp.nii", "training01", modality, session=session)
            tree.others(f"training/training01/orig/{case}.nii.gz")
        tree.labels(*(f"training/training01/masks/training01_{session}_mask{rater}.nii" for rater in (1, 2)))


def _open_ms(tree: Tree) -> None:
    tree.pathology = SCLEROSIS
    tokens = {"T1": "T1w", "T1POST": "T1ce", "T2": "T2w", "FLAIR": "FLAIR"}
    for token, modality in tokens.items():
        name = f"{token}_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"
        tree.scan(f"cross_sectional/MNI/patient19/{name}", "patient19", modality)
    tree.labels("cross_sectional/MNI/patient19/GOLD_STANDARD_N4_noneck_reduced_winsor_regtoFLAIR_regtoMNI.nii.gz")
    for token, modality in {"T1W": "T1w", "T1WKS": "T1ce", "T2W": "T2w", "FLAIR": "FLAIR"}.items():
        tree.others(f"cross_sectional/raw/patient19/{token}.nii.gz")  # the scans that are in MNI already
        tree.others(f"cross_sectional/raw/patient01/{token}.nii.gz")
        mask = "cross_sectional/coregistered/patient01/brainmask.nii.gz"
        path = f"cross_sectional/coregistered/patient01/{token}.nii.gz"
        tree.scan(path, "patient01", modality, mask=mask, stripped=False)
    tree.brain_mask("cross_sectional/coregistered/patient01/brainmask.nii.gz")
    tree.labels("cross_sectional/coregistered/patient01/consensus_gt.nii.gz")
    for session in ("study1", "study2"):
        for token, modality in {"T1W": "T1w", "T2W": "T2w", "FLAIR": "FLAIR"}.items():
            path = f"longitudinal/raw/patient12/{session}_{token}.nii.gz"
            tree.scan(path, "patient12", modality, session=session, stripped=False)


def _msseg(tree: Tree) -> None:
    tree.pathology = SCLEROSIS
    tokens = {"3DFLAIR": "FLAIR", "3DT1": "T1w", "3DT1GADO": "T1ce", "T2": "T2w", "DP": "PD"}
    for token, modality in tokens.items():
        tree.scan(f"01016SACH/{token}_preprocessed.nii.gz", "01016SACH", modality)
        tree.others(f"01016SACH/{token}.nii.gz")
        tree.scan(f"01038PAGU/{token}.nii.gz", "01038PAGU", modality, stripped=False)
    tree.labels("01016SACH/Consensus.nii.gz", "01016SACH/ManualSegmentation_1.nii.gz")


def _msseg_by_centre(tree: Tree) -> None:
    tree.pathology = SCLEROSIS
    for centre in ("Center_01", "Center_07"):
        case = f"Training/{centre}/Patient_01"
        for token, modality in {"FLAIR": "FLAIR", "T1": "T1w", "GADO": "T1ce", "T2": "T2w", "DP": "PD"}.items():
            path = f"{case}/Preprocessed_Data/{token}_preprocessed.nii.gz"
            tree.scan(path, f"{centre}-Patient_01", modality)
            tree.others(f"{case}/Raw_Data/{token}.nii.gz")
        tree.labels(f"{case}/Masks/Consensus.nii.gz")


def _shifts(tree: Tree) -> None:
    tree.pathology = SCLEROSIS
    for part in ("train", "eval_in"):
        mask = f"msseg/{part}/fg_mask/1_isovox_fg_mask.nii.gz"
        tree.brain_mask(mask)
        for token, modality in {"T1": "T1w", "T1CE": "T1ce", "T2": "T2w", "FLAIR": "FLAIR", "PD": "PD"}.items():
            path = f"msseg/{part}/{token.lower()}/1_{token}_isovox.nii.gz"
            tree.scan(path, f"msseg-{part}-1", modality, mask=mask)
        tree.labels(f"msseg/{part}/gt/1_gt_isovox.nii.gz")


def _mslesseg(tree: Tree) -> None:
    tree.pathology = SCLEROSIS
    for session in ("T1", "T2"):
        for token, modality in {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}.items():
            tree.scan(f"train/P1/{session}/P1_{session}_{token}.nii.gz", "P1", modality, session=session)
        tree.labels(f"train/P1/{session}/P1_{session}_MASK.nii.gz")
    for token, modality in {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}.items():
        tree.scan(f"test/P54/P54_{token}.nii.gz", "P54", modality)


def _fomo(tree: Tree) -> None:
    rows = ["dataset\tparticipant_id\tsession_id\tgroup"]
    cases = [("PT001", "sub_1", "Control", HEALTHY), ("PT002", "sub_2", "MS", SCLEROSIS)]
    for dataset, subject, group, tree.pathology in cases:
        case = f"{dataset}/{subject}/ses_1"
        for token, modality in {"t1": "T1w", "t2": "T2w", "t2_2": "T2w", "flair": "FLAIR"}.items():
            tree.scan(f"{case}/{token}.nii.gz", subject, modality, session="ses_1")
        tree.others(f"{case}/dwi.nii.gz", f"{case}/t2s.nii.gz")
        rows.append(f"{dataset}\t{subject}\tses_1\t{group}")
    tree.text("participants.tsv", *rows)
    tree.text("mapping.tsv", "dataset\tparticipant_id\tsession_id\tfilename")


def _bids(tree: Tree) -> None:
    tree.text("dataset_description.json", '{"Name": "made up", "BIDSVersion": "1.10.0", "License": "CC0"}')
    tree.text("participants.tsv", "participant_id\tage\tdiagnosis", "sub-b1\t70\tAD", "sub-b2\t50\tcontrol")
    tree.pathology = DEMENTIA
    tree.scan("sub-b1/ses-1/anat/sub-b1_ses-1_T1w.nii.gz", "b1", "T1w", session="1", stripped=False)
    tree.scan("sub-b1/ses-1/anat/sub-b1_ses-1_ce-gad_T1w.nii.gz", "b1", "T1ce", session="1", stripped=False)
    tree.pathology = HEALTHY
    tree.scan("sub-b2/anat/sub-b2_PDw.nii.gz", "b2", "PD", stripped=False)
    tree.others("sub-b2/func/sub-b2_task-rest_bold.nii.gz")
    tree.others("derivatives/lesions/sub-b2/anat/sub-b2_T1w.nii.gz")
    tree.text("derivatives/lesions/dataset_description.json", "{}")


def _manifest(tree: Tree) -> None:
    tree.pathology = DEMENTIA
    tree.scan("images/scan of Müller.nii.gz", "m1", "FLAIR", session="s1", stripped=False)
    tree.text("scans.csv", "path,subject,session,pathology,modality", "images/scan of Müller.nii.gz,m1,s1,AD,flair")


_WRITERS: dict[str, Callable[[Tree], None]] = {
    "BraTS 2018": _brats_2018,
    "BraTS 2021": _brats_2021,
    "BraTS 2024": _brats_2024,
    "MSD Task01": _msd,
    "UPENN-GBM": _upenn,
    "UCSF-PDGM": _ucsf,
    "IXI": _ixi,
    "OASIS-1": _oasis_1,
    "OASIS-3": _oasis_3,
    "ISBI-2015": _isbi,
    "open_ms_data": _open_ms,
    "MSSEG-2016": _msseg,
    "MSSEG-2016 by centre": _msseg_by_centre,
    "Shifts MS": _shifts,
    "MSLesSeg": _mslesseg,
    "FOMO60K": _fomo,
    "BIDS": _bids,
    "manifest": _manifest,
}
TREES = tuple(_WRITERS)


def write_whole_tree(name: str, folder: Path, *, names_only: bool = False) -> Tree:
    """Write the tree of that name into a new folder; with `names_only` its images are empty files."""
    folder.mkdir(parents=True)
    tree = Tree(folder, names_only=names_only)
    _WRITERS[name](tree)
    return tree


def write_tree(name: str, folder: Path) -> list[ExpectedScan]:
    """Write the tree of that name into a new folder; returns the scans that are to be found in it."""
    return write_whole_tree(name, folder).scans
