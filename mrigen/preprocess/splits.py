"""What of a subject's images its name decides: the split, and where its slices lie."""

from __future__ import annotations

import hashlib
import math

from mrigen.config import DataConfig


def split_of(subject: str, data: DataConfig) -> str:
    """`train`, `val` or `test`, by a hash of the subject alone: adding subjects moves nobody."""
    position = _hash_fraction("split", subject)
    if position < data.test_fraction:
        return "test"
    return "val" if position < data.test_fraction + data.val_fraction else "train"


def slice_heights(data: DataConfig, subject: str) -> list[float]:
    """Positions of a subject's slices along the plane's normal, in mm.

    They are `slice_step_mm` apart, from an offset below one step that is the subject's own. A whole volume lies at 0.
    """
    if data.spatial_dims == 3:
        return [0.0]
    low, high = data.slice_range_mm
    start = low + data.slice_step_mm * _hash_fraction("slices", subject)
    count = max(0, math.floor((high - start) / data.slice_step_mm + 1e-9) + 1)
    return [start + k * data.slice_step_mm for k in range(count)]


def _hash_fraction(purpose: str, subject: str) -> float:
    """A number in [0, 1) that only the arguments decide."""
    digest = hashlib.sha256(f"mrigen {purpose} {subject}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
