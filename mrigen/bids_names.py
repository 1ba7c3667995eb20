"""Names of images within a BIDS tree."""

from __future__ import annotations

import re

from mrigen.labels import Modality

SUFFIXES = {
    Modality.T1W: "T1w",
    Modality.T1CE: "T1w",
    Modality.T2W: "T2w",
    Modality.FLAIR: "FLAIR",
    Modality.PD: "PDw",
}


def bids_path(subject: str, modality: Modality, *, description: str | None = None, session: str | None = None) -> str:
    """Path of a `.nii.gz` image within a BIDS tree; contrast-enhanced T1w carries `ce-gadolinium`.

    Raises ValueError if a label holds anything but letters and digits.
    """
    labels = {"sub": subject, "ses": session, "ce": "gadolinium" if modality is Modality.T1CE else None}
    entities = {**labels, "desc": description}
    for key, label in entities.items():
        if label is not None and not re.fullmatch(r"[a-zA-Z0-9]+", label):
            raise ValueError(f"BIDS label {key}-{label!r} may hold letters and digits only")
    name = "_".join([*(f"{key}-{label}" for key, label in entities.items() if label), SUFFIXES[modality]])
    folder = f"sub-{subject}/" + (f"ses-{session}/" if session else "")
    return f"{folder}anat/{name}.nii.gz"
