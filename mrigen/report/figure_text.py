"""Figures as people read them, and what may be said of two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrigen.metrics.figure import Figure

ALPHA = 0.01
"""A smaller p-value says that generated images can be told from real ones."""

_DECIMALS = {
    **dict.fromkeys(("precision", "recall", "density", "coverage", "psnr_db"), 2),
    **dict.fromkeys(("fid", "fid_infinity"), 1),
    **dict.fromkeys(("bright_mm2", "ventricle_mm2"), 0),
}
_DEFAULT_DECIMALS = 3


def number_text(name: str, value: float, *, signed: bool = False) -> str:
    """A value of the figure called `name` (`EXTRACTOR/kid_floor`), rounded to what it can tell."""
    short = name.rpartition("/")[2].removesuffix("_floor").removesuffix("_real")
    decimals = _DECIMALS.get(short, _DEFAULT_DECIMALS)
    return f"{round(value, decimals) + 0.0:{'+' if signed else ''}.{decimals}f}"  # no -0.00


def figure_text(name: str, figure: Figure, *, signed: bool = False) -> str | None:
    """The value alone, None where there is none."""
    return None if figure.value is None else number_text(name, figure.value, signed=signed)


def interval_text(name: str, figure: Figure, *, signed: bool = False) -> str | None:
    """`0.12 to 0.15`, None where there is no interval."""
    return figure.interval and " to ".join(number_text(name, end, signed=signed) for end in figure.interval)


def figure_and_interval(name: str, figure: Figure) -> str:
    """`0.13 (0.12 to 0.15)`, of a figure that has a value."""
    ends = interval_text(name, figure)
    return f"{figure_text(name, figure)}" + (f" ({ends})" if ends else "")


def p_text(figure: Figure) -> str | None:
    """`p = 0.012`, None where there was no test."""
    if figure.p_value is None:
        return None
    return "p < 0.001" if figure.p_value < 0.001 else f"p = {figure.p_value:.3f}"


def apart(first: Figure, second: Figure) -> bool:
    """Whether two figures have intervals, and these do not overlap."""
    if first.interval is None or second.interval is None:
        return False
    return first.interval[0] > second.interval[1] or second.interval[0] > first.interval[1]


def told_apart(figure: Figure) -> bool | None:
    """Whether the test of a figure says that its images differ from real ones; None where there was no test."""
    return None if figure.p_value is None else figure.p_value < ALPHA


class Notes:
    """The reasons for missing figures, each once, in the order in which they first come up."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def number(self, reason: str) -> int:
        """That of a reason, from 1."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason) + 1

    def shown(self, name: str, figure: Figure, *, signed: bool = False) -> dict[str, Any]:
        """A figure as the macro `number` takes it."""
        return {
            "text": figure_text(name, figure, signed=signed),
            "interval": interval_text(name, figure, signed=signed),
            "p": p_text(figure),
            "n": figure.n,
            "note": self.number(figure.reason) if figure.reason is not None else None,
        }


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines for a terminal, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
