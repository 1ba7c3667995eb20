"""A first look at scans, before any image is made of them: hashes, headers, and whether a few have a skull."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mrigen.config import DataConfig
from mrigen.each import Each
from mrigen.labels import Modality
from mrigen.prepare.confounds import Traits
from mrigen.prepare.scan_groups import group_scans
from mrigen.preprocess import needs_brain
from mrigen.preprocess.contents import check_contents
from mrigen.preprocess.foreground import find_foreground
from mrigen.sources.reading import hash_scan, read_scan, scan_header
from mrigen.sources.recognise import FoundScans
from mrigen.sources.scans import Rejected, Scan, drop_unusable
from mrigen.storage import Location
from mrigen.volume import Volume, VolumeError

SCANS_PER_TASK = 32
LOOKS_PER_CELL = 3
"""Scans of each source, pathology and modality whose voxels are looked at."""
ASSUMED = ", assumed"


@dataclass(frozen=True)
class ScanFacts:
    """What a scan's file tells before its images are made."""

    scan: Scan
    content: str
    """Hash of the scan's voxels and header, and of its brain mask where that counts."""
    identity: str
    """The same with its lesion mask and the T1w that it follows, if it has them."""
    spacing_mm: tuple[float, float, float]
    orientation: str
    """Where the stored axes point, such as LPS; with `ASSUMED` where nobody tells."""
    stripped: bool | None
    """None: not looked at."""

    @property
    def spacing_text(self) -> str:
        """The voxels' size in words, such as 1 x 1 x 3 mm."""
        return " x ".join(f"{round(length, 2):g}" for length in self.spacing_mm) + " mm"

    def following(self, t1w: ScanFacts) -> ScanFacts:
        """The same where the brain is that of a T1w, which then counts for what the scan's images are."""
        told = f"{self.identity} follows {t1w.content} {t1w.scan.orientation}"
        identity = hashlib.sha256(told.encode()).hexdigest()
        return replace(self, scan=replace(self.scan, t1w=t1w.scan), identity=identity)

    def traits(self, *, stripped: bool | None) -> Traits:
        """What the scan shows beside its pathology, with its head in the state given."""
        scan, thickness = self.scan, round(max(self.spacing_mm), 1)
        return Traits(scan.source, scan.pathology, scan.modality, thickness, stripped)


def scans_to_look_at(scans: Iterable[Scan]) -> set[Scan]:
    """The first few scans of every source, pathology and modality."""
    seen: Counter[tuple[object, ...]] = Counter()
    chosen = set()
    for scan in sorted(scans, key=lambda scan: (scan.subject, scan.path)):
        group = (scan.origin, scan.source, scan.pathology, scan.modality)
        if seen[group] < LOOKS_PER_CELL:
            chosen.add(scan)
        seen[group] += 1
    return chosen


def survey_scan(scan: Scan, places: Sequence[Location], data: DataConfig, *, look: bool) -> ScanFacts | Rejected:
    """Read a scan's header, hash its files, and, to `look`, tell from its voxels whether the skull was stripped."""
    place = places[scan.origin]
    max_bytes = data.max_scan_mb << 20
    try:
        header = scan_header(scan, place, max_bytes=max_bytes)
        stripped = _is_stripped(read_scan(scan, place, max_bytes=max_bytes)) if look else None
        content = hash_scan(scan, place)
        if scan.mask and needs_brain(data):
            content = _hash_both(content, place.at(scan.mask))
    except VolumeError as error:
        return Rejected.by_error(scan.path, error)
    except (OSError, ValueError) as error:  # a path with a NUL is the second to pyarrow
        return Rejected.because(scan.path, f"cannot be read: {' '.join(str(error).split())}", "missing")
    identity = _with_lesions(content, scan, place)
    told = header.tells_axes or scan.orientation
    orientation = header.orientation if told else header.orientation + ASSUMED
    return ScanFacts(scan, content, identity, header.spacing_mm, orientation, stripped)


def _is_stripped(volume: Volume) -> bool:
    foreground = find_foreground(volume)
    check_contents(volume, foreground.mask)
    return foreground.stripped


def _with_lesions(content: str, scan: Scan, place: Location) -> str:
    """The hash of a scan and its lesion mask; what is wrong with a mask is told when the images are made."""
    lesions = place.at(scan.lesions)
    try:
        return _hash_both(content, lesions) if scan.lesions and lesions.is_file() else content
    except (OSError, ValueError):
        return content


def _hash_both(content: str, mask: Location) -> str:
    return hashlib.sha256(f"{content} {mask.sha256()}".encode()).hexdigest()


OnRejected = Callable[[Rejected], None]
"""Told of every file that is left out, as soon as that is known. May raise, to stop."""


def ignore(item: Rejected) -> None:
    """An `OnRejected` that goes on in silence: what is left out is in the quarantine."""


def survey_sources(
    found: FoundScans, data: DataConfig, each: Each, on_rejected: OnRejected
) -> tuple[dict[Scan, ScanFacts], list[Rejected]]:
    """Read every scan's header, hash it, and look at the heads of a few.

    Returns the facts of the scans that can be used, and everything left out so far: what the sources rejected, files
    that cannot be read, and copies.
    """
    looks = scans_to_look_at(found.scans)
    groups = [[(scan, scan in looks) for scan in group] for group in group_scans(found.scans, SCANS_PER_TASK)]
    rejected = list(found.rejected)
    for item in found.rejected:
        on_rejected(item)
    facts: dict[Scan, ScanFacts] = {}
    work = functools.partial(_survey_group, found.places, data)
    for place, results in each(work, groups, "survey"):
        for (scan, _), result in zip(groups[place], results, strict=True):
            if isinstance(result, Rejected):
                rejected.append(result)
                on_rejected(result)
            else:
                facts[scan] = result
    ordered = [scan for group in groups for scan, _ in group if scan in facts]
    kept, copies = drop_unusable(ordered, [facts[scan].content for scan in ordered])
    for item in copies:
        on_rejected(item)
    return {scan: facts[scan] for scan in kept}, [*rejected, *copies]


def with_t1w(facts: Mapping[Scan, ScanFacts], data: DataConfig) -> dict[Scan, ScanFacts]:
    """The facts of scans of which those in other contrasts name the T1w, the first by its path, of the same subject and
    session; none where brains are not needed, or told by a mask or by the user's skull-stripper."""
    if not needs_brain(data) or data.strip_command:
        return dict(facts)
    heads: dict[tuple[str, str, str], ScanFacts] = {}
    for fact in sorted(facts.values(), key=lambda fact: (fact.scan.path, fact.scan.frame or 0)):
        if fact.scan.modality is Modality.T1W:
            heads.setdefault((fact.scan.source, fact.scan.subject, fact.scan.session), fact)

    def told(fact: ScanFacts) -> ScanFacts:
        scan = fact.scan
        t1w = heads.get((scan.source, scan.subject, scan.session))
        return fact if t1w is None or scan.mask or scan.modality is Modality.T1W else fact.following(t1w)

    return {fact.scan: fact for fact in map(told, facts.values())}


def _survey_group(
    places: Sequence[Location], data: DataConfig, group: Sequence[tuple[Scan, bool]]
) -> list[ScanFacts | Rejected]:
    return [survey_scan(scan, places, data, look=look) for scan, look in group]
