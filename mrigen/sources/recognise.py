"""From whatever a user names to a table of scans."""

from __future__ import annotations

from mrigen.errors import InputError
from mrigen.sources.bids import find_bids_scans, is_bids
from mrigen.sources.manifest import find_manifest_scans
from mrigen.sources.options import Source
from mrigen.sources.profiles import PROFILES, find_profile_scans
from mrigen.sources.scans import ScanTable

KNOWN = (
    "a BIDS tree (dataset_description.json and participants.tsv), "
    + "".join(f"{profile.name}, " for profile in PROFILES)
    + "or a CSV file with the columns path,subject,pathology,modality"
)


def find_scans(named: Source) -> ScanTable:
    """Understand a source, a folder or a manifest file, and list its scans.

    Raises:
        InputError: if there is nothing, it is of no kind that is known, or it lists no scan at all.
    """
    source = named.place
    if source.is_file():
        if not source.path.casefold().endswith((".csv", ".tsv")):
            raise InputError(f"{source}: neither a folder nor a .csv file; known are {KNOWN}")
        return find_manifest_scans(source)
    if not source.is_folder():
        raise InputError(f"no file or folder {source}")
    if is_bids(source):
        table = find_bids_scans(source)
        if not table.scans and not table.rejected:
            raise InputError(f"{source}: a BIDS tree without any T1w, T2w, FLAIR or PDw scan in an anat folder")
        return table
    found = find_profile_scans(source)
    if found is None:
        raise InputError(f"{source}: unknown kind of folder; known are {KNOWN}")
    return found
