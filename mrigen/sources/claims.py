"""What one kind of source finds among the files of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mrigen.sources.scans import Rejected, Scan


@dataclass(frozen=True)
class ClaimedFiles:
    """The files that one kind of source knows, and what they are."""

    kind: str
    """In words."""
    paths: frozenset[str]
    """All the files it knows, scans or not, relative to the folder."""
    scans: tuple[Scan, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    masks: tuple[str, ...] = ()
    """Lesion masks and other labels."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Files that were left out without a fault: in words -> how many."""


def in_words(claims: Sequence[ClaimedFiles]) -> tuple[str, ...]:
    """Each thing that was recognised, with counts; a BIDS tree or a manifest alone, all of it used, by its kind."""
    if len(claims) == 1 and not claims[0].notes and claims[0].kind.startswith("a "):
        return (claims[0].kind,)
    return tuple(_words(claim) for claim in claims)


def _words(claim: ClaimedFiles) -> str:
    notes = "".join(f"; {what}: {count}" for what, count in sorted(claim.notes.items()))
    plural = "" if len(claim.scans) == 1 else "s"
    return f"{claim.kind} ({len(claim.scans)} scan{plural}{notes})"
