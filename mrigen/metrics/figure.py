"""A measured number with its N and its interval, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class Figure:
    """Exactly one of `value` (finite) and `reason` is given, and always `n`, what it was measured on.

    `low` and `high` are the ends of its 95 % interval, both None where it has none. `p_value` is that of the
    test that goes with the figure, if one does.
    """

    value: float | None
    n: int
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a figure has either a value or a reason, got {self.value} and {self.reason!r}")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"an interval has two ends, got {self.low} and {self.high}")
        for number in (self.value, self.low, self.high, self.p_value):
            if number is None:
                continue
            if self.value is None:
                raise ValueError("a figure without a value has neither interval nor p-value")
            if not math.isfinite(number):
                raise ValueError(f"the numbers of a figure are finite, got {number}; use Figure.of")
        if self.interval and self.interval[0] > self.interval[1]:
            raise ValueError(f"an interval runs from low to high, got {self.low} to {self.high}")

    @classmethod
    def of(cls, value: float, n: int, interval: tuple[float, float] | None = None) -> Self:
        """The value where it is finite, else the reason that it is not."""
        if not math.isfinite(value):
            return cls(None, n, f"the result is not finite ({value})")
        low, high = interval if interval is not None else (None, None)
        return cls(float(value), n, None, low, high)

    @classmethod
    def missing(cls, reason: str, n: int = 0) -> Self:
        """No value, and why."""
        return cls(None, n, reason)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, None where there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def tested(self, p_value: float | None) -> Self:
        """The same figure with the p-value of its test; one without a value stays as it is."""
        return self if self.value is None else replace(self, p_value=p_value)

    def as_json(self) -> dict[str, Any]:
        """`{"value", "n", "low", "high", "p_value", "reason"}`, null where not given."""
        return {name: getattr(self, name) for name in ("value", "n", "low", "high", "p_value", "reason")}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """What `as_json` gave. Raises ValueError or TypeError for anything else."""
        return cls(**tree)


def not_finite(num_broken: int, num_images: int) -> str | None:
    """The reason why images give no figure where some of them hold values that are not finite, else None."""
    return f"{num_broken} of {num_images} images hold values that are not finite" if num_broken else None


def figures_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures by their names, as JSON has them."""
    return {name: figure.as_json() for name, figure in figures.items()}
