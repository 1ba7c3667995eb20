"""From whatever a user names to the scans that are there."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mrigen.errors import InputError
from mrigen.sources.bids import NOT_RAW, bids_roots, find_bids_scans
from mrigen.sources.dicom import find_series
from mrigen.sources.folder import find_folder_scans
from mrigen.sources.label_tables import named_table, read_splits_table
from mrigen.sources.listing import is_scan_name, list_files
from mrigen.sources.manifest import find_manifest_scans, is_manifest
from mrigen.sources.matching import find_profile_scans
from mrigen.sources.options import Source, SourceOptions
from mrigen.sources.profiles import PROFILES
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan, drop_contradicted, in_words
from mrigen.sources.tables import TABLE_SUFFIXES
from mrigen.storage import Location

BIDS, FOLDER = "bids", "folder"
KNOWN = (
    "a BIDS tree (dataset_description.json and participants.tsv), "
    + "".join(f"{profile.name}, " for profile in PROFILES)
    + "DICOM series, any folder of images with pathology= and modality= or pattern= as options, "
    + "or a CSV, TSV or Parquet file with the columns path,subject,pathology,modality"
)


@dataclass(frozen=True)
class FoundScans:
    """All scans of all sources of a call."""

    kinds: tuple[tuple[str, ...], ...]
    """What was recognised in each source, in words."""
    places: tuple[Location, ...]
    """Where each source lies; a scan's `origin` counts in them."""
    scans: tuple[Scan, ...]
    masks: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def find_all_scans(sources: Sequence[Source]) -> FoundScans:
    """Understand every source, a folder or a manifest file, and list its scans.

    A folder may hold several things side by side. It is listed once; each file belongs to the first that knows it:
    a manifest in the folder, a BIDS tree, a data set known by its names, a DICOM series. Where nothing is known, images
    are taken with the labels that the options give to all. Other scans that nobody knows are rejected.

    Raises InputError if there is nothing, it is of no kind that is known, or it lists no scan at all.
    """
    kinds: list[tuple[str, ...]] = []
    scans: list[Scan] = []
    masks: list[str] = []
    rejected: list[Rejected] = []
    for origin, source in enumerate(sources):
        claims, left_out = _find(source.place, source.options)
        kinds.append(in_words([claim for claim in claims if claim.scans or claim.rejected] or claims))
        splits, absent = _told_splits(source, {scan.subject for claim in claims for scan in claim.scans})
        kinds[-1] += absent
        scans.extend(
            replace(scan, origin=origin, split=splits.get(scan.subject, "")) for claim in claims for scan in claim.scans
        )
        masks.extend(mask for claim in claims for mask in claim.masks)
        rejected.extend(item for claim in claims for item in claim.rejected)
        rejected.extend(left_out)
    agreed, contradicted = drop_contradicted(scans)
    places = tuple(source.place for source in sources)
    return FoundScans(tuple(kinds), places, tuple(agreed), tuple(masks), (*rejected, *contradicted))


def _told_splits(source: Source, subjects: Collection[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Subject -> split, where the user has a table of these, and in words who of it is not in the source.

    Raises InputError if nobody is.
    """
    if not source.options.split:
        return {}, ()
    file = named_table(source.place, source.options.split)
    splits = read_splits_table(file, source.options)
    if subjects and not subjects & splits.keys():
        names = f"{', '.join(sorted(splits)[:2]) or 'nobody'}, but subjects are such as {min(subjects)}"
        raise InputError(f"{file}: it tells the split of nobody in {source.place}: of {names}")
    if absent := sorted(splits.keys() - subjects):
        return splits, (f"{file.name} tells the split of {len(absent)} not found here, such as {absent[0]}",)
    return splits, ()


def _find(place: Location, options: SourceOptions) -> tuple[list[ClaimedFiles], list[Rejected]]:
    """What is known in a source, and what of it is left out beside that."""
    if place.is_file():
        if not place.path.casefold().endswith(TABLE_SUFFIXES):
            raise InputError(f"{place}: neither a folder nor a {' or '.join(TABLE_SUFFIXES)} file; known are {KNOWN}")
        return [find_manifest_scans(place, options)], []
    if not place.is_folder():
        raise InputError(f"no file or folder {place}")
    listing = list_files(place, follow_links=options.links == "follow")
    claims, faults, unknown = _claims(place, listing.files, options)
    if not any(claim.scans or claim.rejected for claim in claims):
        raise _nothing(place, options, claims, faults)
    known = f"is no name of a scan of {options.kind}" if options.kind else "is of no data set that is known"
    told = f"its name {known}: list it in a manifest"
    strangers = [Rejected.because((place / path).path, told, "name") for path in unknown]
    broken = [Rejected((place / root).path, str(fault), "label") for root, fault in faults.items()]
    return claims, [*broken, *strangers, *listing.rejected]


def _claims(
    place: Location, files: Iterable[str], options: SourceOptions
) -> tuple[list[ClaimedFiles], dict[str, InputError], list[str]]:
    """What each kind of source knows; BIDS trees that cannot be used, with the reason; and scans that nobody knows."""
    left = set(files)
    claims: list[ClaimedFiles] = []
    faults: dict[str, InputError] = {}

    def take(found: Iterable[ClaimedFiles]) -> None:
        for claim in found:
            left.difference_update(claim.paths)
            claims.append(claim)

    kind = _kind(place, options)
    subjects = {root: posixpath.join(root, "sub-") for root in bids_roots(left)}
    roots = [root for root, inside in subjects.items() if any(path.startswith(inside) for path in left)]
    if kind is None:
        inside = tuple(subjects[root] for root in roots)
        tables = [path for path in left if path.casefold().endswith(TABLE_SUFFIXES) and not path.startswith(inside)]
        take([_manifest_claim(place, path, options) for path in sorted(tables) if is_manifest(place / path)])
    if kind in (None, BIDS):
        for root in sorted(roots, key=len, reverse=True) or ([""] if kind == BIDS else []):
            try:
                take([_bids_claim(place, root, left, options)])
            except InputError as fault:
                faults[root] = fault
                not_raw = tuple(posixpath.join(root, name, "") for name in NOT_RAW)
                left.difference_update([path for path in left if path.startswith(not_raw)])
    if kind not in (BIDS, FOLDER):
        take(find_profile_scans(place, left, [p for p in PROFILES if kind in (None, p.name)], options))
    if kind is None:
        take(filter(None, [find_series(place, left, options)]))
    labelled = options.pathology and options.modality and not (claims or faults)
    if kind == FOLDER or (kind is None and labelled and any(map(is_scan_name, left))):
        take([find_folder_scans(place, left, options)])
    # A tree whose own tables do not tell is no fault where a profile knew its scans, as with OASIS-3.
    unknown = sorted(filter(is_scan_name, left))
    broken = {root: posixpath.join(root, "sub-") for root in faults}
    faults = {root: fault for root, fault in faults.items() if any(path.startswith(broken[root]) for path in unknown)}
    return claims, faults, [path for path in unknown if not path.startswith(tuple(broken[root] for root in faults))]


def _kind(place: Location, options: SourceOptions) -> str | None:
    """The kind that the options force, in its own spelling."""
    if options.kind is None:
        return None if options.pattern is None else FOLDER
    if options.pattern is not None and options.kind.casefold() != FOLDER:
        raise InputError(f"{place}: a pattern is of the kind {FOLDER!r} alone, not {options.kind!r}")
    known = {name.casefold(): name for name in [BIDS, FOLDER, *(profile.name for profile in PROFILES)]}
    if options.kind.casefold() not in known:
        nearest = difflib.get_close_matches(options.kind.casefold(), known, n=1)
        hint = f"did you mean {known[nearest[0]]!r}?" if nearest else f"known are {', '.join(known.values())}"
        raise InputError(f"{place}: unknown kind {options.kind!r}; {hint}")
    return known[options.kind.casefold()]


def _manifest_claim(place: Location, path: str, options: SourceOptions) -> ClaimedFiles:
    claim = find_manifest_scans(place / path, options)
    listed = [*(scan.path for scan in claim.scans), *(item.path for item in claim.rejected if item.path)]
    paths = {path, *(posixpath.relpath(name, place.path) for name in listed)}
    return replace(claim, kind=f"a manifest, {path}", paths=paths)


def _bids_claim(place: Location, root: str, left: Iterable[str], options: SourceOptions) -> ClaimedFiles:
    within = posixpath.join(root, "")
    claim = find_bids_scans(place / root, [path[len(within) :] for path in left if path.startswith(within)], options)
    kind = f"a BIDS tree, {root}" if root else claim.kind
    return replace(claim, kind=kind, paths={within + path for path in claim.paths})


def _nothing(
    place: Location, options: SourceOptions, claims: list[ClaimedFiles], faults: Mapping[str, InputError]
) -> InputError:
    """Why no scan was recognised."""
    if faults:
        return next(iter(faults.values()))
    if any(claim.kind.startswith("a BIDS tree") for claim in claims):
        return InputError(f"{place}: a BIDS tree without any T1w, T2w, FLAIR or PDw scan in an anat folder")
    if options.kind:
        return InputError(f"{place}: no scan of the kind {options.kind!r}")
    if claims:
        return InputError(f"{place}: no scan to use in it: {', '.join(in_words(claims))}")
    return InputError(f"{place}: unknown kind of folder; known are {KNOWN}")
