"""A measured number with its N, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Figure:
    """Exactly one of `value` (finite) and `reason` is given, and always `n`, what it was measured on."""

    value: float | None
    n: int
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a figure has either a value or a reason, got {self.value} and {self.reason!r}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"the value of a figure is finite, got {self.value}; use Figure.of")

    @classmethod
    def of(cls, value: float, n: int) -> Self:
        """The value where it is finite, else the reason that it is not."""
        if math.isfinite(value):
            return cls(float(value), n)
        return cls(None, n, f"the result is not finite ({value})")

    @classmethod
    def missing(cls, reason: str, n: int = 0) -> Self:
        """No value, and why."""
        return cls(None, n, reason)

    @classmethod
    def mean(cls, values: Sequence[float], nothing: str) -> Self:
        """The mean over `values`, or the reason `nothing` if there are none."""
        return cls.of(math.fsum(values) / len(values), len(values)) if len(values) else cls.missing(nothing)

    def as_json(self) -> dict[str, Any]:
        """`{"value", "n", "reason"}`, null where not given."""
        return {"value": self.value, "n": self.n, "reason": self.reason}
