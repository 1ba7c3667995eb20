"""Public data sets by the names of their files: one declaration each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mrigen.labels import Modality, Pathology
from mrigen.sources.scans import Rejected, Scan, ScanTable, nifti_files
from mrigen.storage import Location


@dataclass(frozen=True)
class Profile:
    """How one data set names its files, and what all of them share."""

    name: str
    pattern: str
    # matched at the end of the path; groups `subject`, `token` (the contrast) and, where there are any, `session`
    modalities: Mapping[str, Modality]
    # token -> contrast
    pathology: Pathology
    licence: str
    others: str = r"$^"
    # names of the set's masks and labels, left out without a word


PROFILES = (
    Profile(
        name="open_ms_data cross-sectional, MNI",
        pattern=r"(?P<subject>patient\d+)/(?P<token>[A-Z0-9]+)_N4_\w*_brain_N4_regtoMNI\.nii(\.gz)?",
        modalities={
            "T1": Modality.T1W,
            "T1POST": Modality.T1CE,
            "T2": Modality.T2W,
            "FLAIR": Modality.FLAIR,
        },
        pathology=Pathology.SCLEROSIS,
        licence="CC BY; Lesjak et al., Neuroinformatics 2017, doi 10.1007/s12021-017-9348-7",
        others=r"patient\d+/GOLD_STANDARD_\w+\.nii(\.gz)?",
    ),
)


def find_profile_scans(folder: Location, profiles: tuple[Profile, ...] = PROFILES) -> ScanTable | None:
    """The scans of the first data set whose names are found in `folder`, or None."""
    paths = nifti_files(folder)
    for profile in profiles:
        table = _match(profile, folder, paths)
        if table.scans:
            return table
    return None


def _match(profile: Profile, folder: Location, paths: list[str]) -> ScanTable:
    pattern, others = re.compile(f"(?:^|.*/){profile.pattern}"), re.compile(f"(?:^|.*/){profile.others}")
    scans, rejected = [], []
    for path in paths:
        full = (folder / path).path
        # A user may name the folder of one subject, so its own name counts too.
        found = pattern.fullmatch(f"{folder.name}/{path}")
        modality = profile.modalities.get(found["token"]) if found else None
        if found and modality:
            session = found.groupdict().get("session") or ""
            scans.append(
                Scan(full, found["subject"], session, profile.name, profile.pathology, modality, profile.licence)
            )
        elif not others.fullmatch(f"{folder.name}/{path}"):
            rejected.append(Rejected(full, f"no name of a scan of {profile.name}", "name"))
    return ScanTable(f"the data set {profile.name}", tuple(scans), tuple(rejected))
