"""The phantom cohort, whoever does the work: a BIDS tree that `prepare_run` reads."""

from __future__ import annotations

import functools
from typing import Any

from mrigen.each import Each
from mrigen.phantom.tree import close_tree, open_tree, write_subject
from mrigen.storage import Location


def phantom_run(out: Location, num_subjects: int, seed: int, spacing_mm: float, each: Each) -> list[dict[str, Any]]:
    """Write `num_subjects` phantom subjects to `out`, on cubic voxels; those that stand are kept.

    Gives each subject's row of the table of participants, and as `made` whether it was made now. Raises InputError if
    something else stands in `out`, or a number is out of range.
    """
    open_tree(out, num_subjects, seed, spacing_mm)
    write = functools.partial(write_subject, out, seed=seed, spacing_mm=spacing_mm)
    participants = [row for _, row in each(write, range(num_subjects), "phantom subjects")]
    close_tree(out, participants)
    return participants
