"""The phantom cohort as a BIDS tree: what is in each file, and which subjects are whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrigen import __version__
from mrigen.bids_names import bids_path
from mrigen.errors import InputError
from mrigen.labels import Modality
from mrigen.phantom import LABELS, MEASURES, PhantomSubject, make_subject
from mrigen.phantom.sites import draw_site
from mrigen.storage import Location
from mrigen.volume import SYNTHETIC_DESCRIPTION, Volume, nifti_bytes

FORMAT = 2
"""Rises whenever the same seed no longer gives the same bytes: cohorts of two formats are never mixed."""
MAX_SUBJECTS = 9999
MIN_SPACING_MM, MAX_SPACING_MM = 1.0, 8.0
LESIONS = "derivatives/lesions"
LICENCE = (
    "Derived from the ICBM 152 templates, Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
    "Montreal Neurological Institute, McGill University: permission to use, copy, modify, and distribute this software "
    "and its documentation for any purpose and without fee is hereby granted, provided that the above copyright notice "
    "appear in all copies. The authors and McGill University make no representations about the suitability of this "
    "software for any purpose. It is provided as is without express or implied warranty."
)
_NOTICE = "A phantom: simulated brains, warped from a template. No scan of a person, and not for medical use."
_BIDS_VERSION = "1.10.0"
_README = f"""\
mrigen phantom cohort
=====================

{_NOTICE}

Simulated subjects with four pathologies, each in five modalities that the signal equations render from one
anatomy. Lesion masks and the label of every voxel are in derivatives/lesions; what was measured on those labels is in
participants.tsv; all parameters and the hash of every file are in manifest/.

{LICENCE}
"""


def _label(site: int, index: int) -> str:
    """The BIDS label of a subject."""
    return f"{f'site{site}' if site else ''}phantom{index:04d}"


def open_tree(out: Location, num_subjects: int, seed: int, spacing_mm: float, site: int) -> None:
    """Describe the cohort of a site at `out`, or check that the one there is the same and no larger.

    Raises InputError if something else stands there, or a number is out of range.
    """
    if not 1 <= num_subjects <= MAX_SUBJECTS:
        raise InputError(f"{num_subjects} subjects: choose 1 to {MAX_SUBJECTS}")
    if not MIN_SPACING_MM <= spacing_mm <= MAX_SPACING_MM:
        raise InputError(f"--spacing-mm {spacing_mm:g}: choose {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g}")
    described = out / "dataset_description.json"
    identity = {"Seed": seed, "SpacingMM": spacing_mm, "Format": FORMAT} | ({"Site": site} if site else {})
    if described.is_file():
        tree = described.read_json()
        stored = tree.get("Phantom") if isinstance(tree, dict) else None
        if stored != identity:
            told = f"of {stored}" if stored else "that is no phantom cohort"
            raise InputError(f"{out}: holds a data set {told}: name another folder for {identity}")
    elif out.files():
        raise InputError(f"{out}: holds other files: name a new folder, or an empty one")
    last = f"{_label(site, num_subjects - 1)}.json"
    if any(file.name > last for file in (out / "manifest").files(".json")):
        raise InputError(f"{out}: holds more than {num_subjects} subjects: name another folder, or more --subjects")
    generated = {"GeneratedBy": [{"Name": "mrigen phantom", "Version": __version__, "Description": _NOTICE}]}
    common = {
        "BIDSVersion": _BIDS_VERSION,
        "License": LICENCE,
        "Authors": ["mrigen", "the authors of the ICBM 152 templates"],
    }
    thanks = {"HowToAcknowledge": "Fonov et al., NeuroImage 54:313, 2011, for the templates."}
    # The description comes first: a run killed after it finds its own folder again.
    described.write_json(
        {"Name": "mrigen phantom cohort", "DatasetType": "raw", **generated, **thanks, **common, "Phantom": identity}
    )
    (out / LESIONS / "dataset_description.json").write_json(
        {"Name": "Lesions of the mrigen phantom cohort", "DatasetType": "derivative", **generated, **common}
    )
    label_rows = [f"{label}\t{name}\n" for name, label in LABELS.items()]
    (out / LESIONS / "desc-phantom_dseg.tsv").write_bytes(("index\tname\n" + "".join(label_rows)).encode())
    (out / ".bidsignore").write_bytes(b"/manifest\n")


def write_subject(out: Location, seed: int, spacing_mm: float, site: int, index: int) -> dict[str, Any]:
    """Write the files of one subject, then `manifest/<subject>.json` with their hashes; nothing if all are there.

    Returns the subject's row of the table of participants, and whether it was made now.
    """
    label = _label(site, index)
    manifest = out / "manifest" / f"{label}.json"
    if manifest.is_file():
        stored = manifest.read_json()
        files = [(out / path, digest) for path, digest in stored["files"].items()]
        if all(file.is_file() and file.sha256() == digest for file, digest in files):
            return {**stored["participant"], "made": False}
    place = draw_site(site)
    subject = make_subject(seed, index, spacing_mm, place)
    contents = _subject_files(subject, label, place.scanner.field_t)
    for path, content in contents.items():
        if isinstance(content, bytes):
            (out / path).write_bytes(content)
        else:
            (out / path).write_json(content)
    participant = {
        "participant_id": f"sub-{label}",
        "age": subject.age,
        "pathology": subject.pathology.value,
        **subject.measured,
        **({"site": site} if site else {}),
    }
    digests = {path: (out / path).sha256() for path in contents}
    told = {"parameters": subject.parameters, "measured": subject.measured}
    manifest.write_json({"participant": participant, "files": digests, **told})
    return {**participant, "made": True}


def _subject_files(subject: PhantomSubject, label: str, field_t: float) -> dict[str, Any]:
    """Path in the tree -> bytes, or what goes into a JSON file."""
    files: dict[str, Any] = {}
    for modality, image in subject.images.items():
        # Values reach 1000 and noise is far above 1, so whole numbers lose nothing; the brain stays above 0.
        whole = np.where(subject.brain > 0, np.maximum(np.rint(image), 1.0), 0.0).astype(np.float32)
        path = bids_path(label, modality)
        files[path] = nifti_bytes(Volume(whole, subject.affine), description=SYNTHETIC_DESCRIPTION, dtype=np.int16)
        files[path.replace(".nii.gz", ".json")] = _sidecar(subject, modality, field_t)
    stem = f"{LESIONS}/sub-{label}/anat/sub-{label}"
    source = {"Sources": [f"bids::{bids_path(label, Modality.T1W)}"], "Synthetic": True}
    truths = {
        f"{stem}_desc-lesion_mask": (
            subject.lesions,
            {"Description": "Any lesion: voxels labelled 11 and above in the dseg file", "Type": "Lesion"},
        ),
        f"{stem}_desc-phantom_dseg": (
            subject.segmentation,
            {"Description": "The tissue or lesion that fills most of each voxel; names in desc-phantom_dseg.tsv"},
        ),
    }
    for path, (values, described) in truths.items():
        volume = Volume(values.astype(np.float32), subject.affine)
        files[f"{path}.nii.gz"] = nifti_bytes(volume, description=SYNTHETIC_DESCRIPTION, dtype=np.uint8)
        files[f"{path}.json"] = {**described, **source}
    return files


def _sidecar(subject: PhantomSubject, modality: Modality, field_t: float) -> dict[str, Any]:
    parameters = dict(subject.parameters)
    scans: Any = parameters.pop("scans")
    protocol = scans[modality.value]["protocol"]
    times = {"RepetitionTime": "tr_ms", "EchoTime": "te_ms", "InversionTime": "ti_ms"}
    sidecar: dict[str, Any] = {
        "Synthetic": True,
        "Description": _NOTICE,
        "MagneticFieldStrength": field_t,
        "SkullStripped": True,
        **{name: protocol[key] / 1000 for name, key in times.items() if protocol[key] is not None},
    }
    if modality is Modality.T1CE:
        sidecar["ContrastBolusIngredient"] = "GADOLINIUM"
    return {**sidecar, "Phantom": {**parameters, "measured": subject.measured, "scan": scans[modality.value]}}


_COLUMNS = {
    "age": {"Description": "Simulated age", "Units": "year"},
    "pathology": {"Description": "Simulated pathology: Healthy, Glioblastoma, Sclerosis or Dementia"},
    **{name: {"Description": told, "Units": "mL"} for name, (told, _) in MEASURES.items()},
    "lesion_count": {"Description": "26-connected components of the lesion mask"},
    "midline_shift_mm": {
        "Description": "Shift of the septum pellucidum, in millimetres of the template",
        "Units": "mm",
    },
}
"""The table of participants: column -> what it is, in its order."""
_SITE = {"site": {"Description": "Number of the simulated site: scanner, protocols, and who comes there"}}
"""The last column of subjects that have a site."""


def close_tree(out: Location, participants: list[dict[str, Any]]) -> None:
    """Write what describes the whole cohort; `participants.tsv`, which `mrigen prepare` asks for, comes last."""
    columns = _COLUMNS | (_SITE if any("site" in row for row in participants) else {})
    (out / "participants.json").write_json(columns)
    (out / "README").write_bytes(_README.encode())
    rows = sorted(participants, key=lambda row: str(row["participant_id"]))
    header = ["participant_id", *columns]
    lines = [header, *([str(row[name]) for name in header] for row in rows)]
    (out / "participants.tsv").write_bytes("".join("\t".join(line) + "\n" for line in lines).encode())
