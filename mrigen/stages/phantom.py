"""A phantom cohort: simulated subjects with four pathologies, as a BIDS tree."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mrigen.each import Each
from mrigen.phantom.tree import close_tree, open_tree, write_subject
from mrigen.storage import Location


@dataclass(frozen=True)
class PhantomCohort:
    """A finished tree: its subjects by pathology, and how many of them were made now."""

    counts: Mapping[str, int]
    num_made: int


def phantom_run(
    out: Location, each: Each, *, subjects: int, seed: int = 0, spacing_mm: float = 2.4, site: int = 0
) -> PhantomCohort:
    """Write `subjects` phantom subjects with voxels of `spacing_mm` to the BIDS tree `out`; those that stand are kept.

    They are of the `site` of that number (`mrigen.phantom.sites`), if it is not 0. The same seed gives the same bytes
    with any `each`. Raises InputError if something else stands at `out`, or a number is out of range.
    """
    open_tree(out, subjects, seed, spacing_mm, site)
    write = functools.partial(write_subject, out, seed, spacing_mm, site)
    rows = [row for _, row in each(write, range(subjects), "phantom subjects")]
    close_tree(out, rows)
    return PhantomCohort(Counter(row["pathology"] for row in rows), sum(row["made"] for row in rows))
