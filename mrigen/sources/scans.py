"""What every source of scans comes to: scans, and the files that were left out with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology


@dataclass(frozen=True)
class Scan:
    """One image of one subject.

    `path` is a path on the source's filesystem: a NIfTI file, the `.hdr` of an Analyze or NIfTI pair, or the folder of
    a DICOM series.
    """

    path: str
    subject: str
    session: str
    source: str
    pathology: Pathology
    modality: Modality
    licence: str
    frame: int | None = None
    """Place along the fourth axis of a 4-D file that holds several contrasts."""
    mask: str = ""
    """A brain mask's path, where one was given or found beside the scan."""
    lesions: str = ""
    """Likewise, of a volume whose labels mark lesions, in the space of the scan."""
    orientation: str = ""
    """Axes of an Analyze file, such as LAS."""
    split: str = ""
    """Train, val or test; empty until that is chosen."""
    origin: int = 0
    """Which of the sources of one call the scan is from."""
    t1w: Scan | None = None
    """Of a scan in another contrast that has no brain mask: the T1w of the same subject and session, if any."""


@dataclass(frozen=True)
class Rejected:
    """A file that is not used: why, in one line, and the class of fault (`label`, `name`, a VolumeError's fault)."""

    path: str
    reason: str
    fault: str

    @classmethod
    def because(cls, path: str, told: object, fault: str) -> Self:
        """Rejected for what is told, whose reason begins with the file."""
        return cls(path, f"{path}: {told}", fault)

    @classmethod
    def by_error(cls, path: str, error: InputError) -> Self:
        """Rejected for an error of reading it, which may name the file itself."""
        told = str(error) if path in str(error) else f"{path}: {error}"
        return cls(path, told, getattr(error, "fault", "format"))


@dataclass
class ClaimedFiles:
    """The files that one kind of source knows, and what they are."""

    kind: str
    """In words."""
    paths: set[str]
    """All the files it knows, scans or not, relative to the folder."""
    scans: list[Scan] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    """Paths of lesion masks and other labels."""
    notes: Counter[str] = field(default_factory=Counter)
    """Files that were left out without a fault: in words -> how many."""

    def pathology(self, path: str, told: Callable[[], Pathology | None]) -> Pathology | None:
        """What is told of the file at `path`; None leaves it out, and an InputError rejects it."""
        try:
            pathology = told()
        except InputError as error:
            self.rejected.append(Rejected.because(path, error, "label"))
            return None
        if pathology is None:
            self.notes["skipped"] += 1
        return pathology


def in_words(claims: Sequence[ClaimedFiles]) -> tuple[str, ...]:
    """Each thing that was recognised, with counts; a BIDS tree or a manifest alone, all of it used, by its kind."""
    if len(claims) == 1 and not claims[0].notes and claims[0].kind.startswith("a "):
        return (claims[0].kind,)

    def words(claim: ClaimedFiles) -> str:
        notes = "".join(f"; {what}: {count}" for what, count in sorted(claim.notes.items()))
        plural = "" if len(claim.scans) == 1 else "s"
        return f"{claim.kind} ({len(claim.scans)} scan{plural}{notes})"

    return tuple(words(claim) for claim in claims)


def drop_contradicted(scans: Sequence[Scan]) -> tuple[list[Scan], list[Rejected]]:
    """Scans, and those left out: of subjects that have two pathologies in one session of one data set."""
    told: dict[tuple[str, str, str], set[Pathology]] = {}
    for scan in scans:
        told.setdefault((scan.source, scan.subject, scan.session), set()).add(scan.pathology)
    kept, rejected = [], []
    for scan in scans:
        pathologies = sorted(told[scan.source, scan.subject, scan.session])
        if len(pathologies) == 1:
            kept.append(scan)
        else:
            reason = f"subject {scan.subject} has several pathologies: {', '.join(pathologies)}"
            rejected.append(Rejected.because(scan.path, reason, "label"))
    return kept, rejected


def drop_unusable(scans: Sequence[Scan], digests: Sequence[str]) -> tuple[dict[Scan, str], list[Rejected]]:
    """Scans with the hash of their file, and those left out.

    Left out are files whose hash is empty (they cannot be read), copies of an earlier file, and all copies of a file
    that goes under two labels, since nobody can tell which is right.
    """
    copies: dict[str, list[Scan]] = {}
    for scan, digest in zip(scans, digests, strict=True):
        copies.setdefault(digest, []).append(scan)
    kept: dict[Scan, str] = {}
    rejected: list[Rejected] = []
    for scan, digest in zip(scans, digests, strict=True):
        same = copies[digest]
        other = next((one for one in same if (one.pathology, one.modality) != (scan.pathology, scan.modality)), None)
        if not digest:
            rejected.append(Rejected.because(scan.path, "no such file, or it cannot be read", "missing"))
        elif other:
            same_file = f"the same file as {other.path}, which is {other.pathology} {other.modality}"
            told = f"{scan.pathology} {scan.modality}, but {same_file}"
            rejected.append(Rejected.because(scan.path, told, "label"))
        elif scan is not same[0]:
            rejected.append(Rejected.because(scan.path, f"the same file as {same[0].path}", "duplicate"))
        else:
            kept[scan] = digest
    return kept, rejected
