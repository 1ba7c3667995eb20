"""All scans of all sources of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrigen.sources.options import Source
from mrigen.sources.recognise import find_scans
from mrigen.sources.scans import Rejected, Scan, drop_contradicted
from mrigen.storage import Location


@dataclass(frozen=True)
class Found:
    """All scans of all sources."""

    kinds: tuple[tuple[str, ...], ...]
    """What was recognised in each source, in words."""
    places: tuple[Location, ...]
    """Of each source; a scan's `origin` counts in them."""
    scans: tuple[Scan, ...]
    masks: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def find_all_scans(sources: Sequence[Source]) -> Found:
    """List the scans of every source. Raises InputError as `find_scans` does."""
    tables = [find_scans(source) for source in sources]
    scans = [replace(scan, origin=origin) for origin, table in enumerate(tables) for scan in table.scans]
    agreed, contradicted = drop_contradicted(scans)
    return Found(
        kinds=tuple(table.kinds for table in tables),
        places=tuple(source.place for source in sources),
        scans=tuple(agreed),
        masks=tuple(mask for table in tables for mask in table.masks),
        rejected=(*(item for table in tables for item in table.rejected), *contradicted),
    )
