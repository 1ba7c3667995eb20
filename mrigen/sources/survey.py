"""A first look at scans, before any image is made of them: hashes, headers, and whether a few have a skull."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrigen.config import DataConfig
from mrigen.preprocess import find_foreground
from mrigen.sources.confounds import Traits
from mrigen.sources.reading import hash_scan, read_scan, scan_header
from mrigen.sources.scans import Rejected, Scan
from mrigen.storage import Location
from mrigen.volume import VolumeError

LOOKS_PER_GROUP = 3
"""Scans of each source, pathology and modality whose voxels are looked at."""


@dataclass(frozen=True)
class ScanFacts:
    """What a scan's file tells before its images are made."""

    scan: Scan
    content: str
    # hash of the scan's voxels and header, and of its brain mask where that counts
    identity: str
    # the same with its lesion mask, if it has one
    spacing_mm: tuple[float, float, float]
    orientation: str
    # where the stored axes point, such as LPS
    stripped: bool | None
    # None: not looked at

    @property
    def spacing_text(self) -> str:
        """The voxels' size in words, such as 1 x 1 x 3 mm."""
        return " x ".join(f"{round(length, 2):g}" for length in self.spacing_mm) + " mm"

    def traits(self, *, stripped: bool | None) -> Traits:
        """What the scan shows beside its pathology, with its head in the state given."""
        scan, thickness = self.scan, round(max(self.spacing_mm), 1)
        return Traits(scan.source, scan.pathology, scan.modality, thickness, stripped)


def choose_looks(scans: Iterable[Scan]) -> set[Scan]:
    """The first few scans of every source, pathology and modality."""
    seen: Counter[tuple[object, ...]] = Counter()
    chosen = set()
    for scan in sorted(scans, key=lambda scan: (scan.subject, scan.path)):
        group = (scan.origin, scan.source, scan.pathology, scan.modality)
        if seen[group] < LOOKS_PER_GROUP:
            chosen.add(scan)
        seen[group] += 1
    return chosen


def survey_scan(scan: Scan, places: Sequence[Location], data: DataConfig, *, look: bool) -> ScanFacts | Rejected:
    """Read a scan's header, hash its files, and, to `look`, tell from its voxels whether the skull was stripped."""
    place = places[scan.origin]
    max_bytes = data.max_scan_mb << 20
    try:
        header = scan_header(scan, place, max_bytes=max_bytes)
        stripped = find_foreground(read_scan(scan, place, max_bytes=max_bytes)).stripped if look else None
        content = hash_scan(scan, place)
        if scan.mask and data.head == "strip":
            content = _hash_both(content, Location(place.filesystem, scan.mask))
    except VolumeError as error:
        return Rejected(scan.path, _naming(scan, error), error.fault)
    except (OSError, ValueError) as error:  # a path with a NUL is the second to pyarrow
        return Rejected(scan.path, f"{scan.path}: cannot be read: {' '.join(str(error).split())}", "missing")
    identity = _with_lesions(content, scan, place)
    return ScanFacts(scan, content, identity, header.spacing_mm, header.orientation, stripped)


def _with_lesions(content: str, scan: Scan, place: Location) -> str:
    """The hash of a scan and its lesion mask; what is wrong with a mask is told when the images are made."""
    lesions = Location(place.filesystem, scan.lesions)
    try:
        return _hash_both(content, lesions) if scan.lesions and lesions.is_file() else content
    except (OSError, ValueError):
        return content


def _hash_both(content: str, mask: Location) -> str:
    return hashlib.sha256(f"{content} {mask.sha256()}".encode()).hexdigest()


def _naming(scan: Scan, error: VolumeError) -> str:
    """The error's text, which names the file where it does not do so by itself."""
    return str(error) if scan.path in str(error) else f"{scan.path}: {error}"
