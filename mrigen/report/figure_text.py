"""Figures as people read them, and what may be said of two of them."""

from __future__ import annotations

from mrigen.metrics.figure import Figure

ALPHA = 0.01
"""A smaller p-value says that generated images can be told from real ones."""

_DECIMALS = {"fid": 1, "fid_infinity": 1, "psnr_db": 2, "precision": 2, "recall": 2, "density": 2, "coverage": 2}
_DEFAULT_DECIMALS = 3


def number_text(name: str, value: float) -> str:
    """A value of the figure called `name` (`EXTRACTOR/kid_floor`), rounded to what it can tell."""
    short = name.rpartition("/")[2].removesuffix("_floor")
    decimals = _DECIMALS.get(short, _DEFAULT_DECIMALS)
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # no -0.00


def figure_text(name: str, figure: Figure) -> str | None:
    """The value alone, None where there is none."""
    return None if figure.value is None else number_text(name, figure.value)


def interval_text(name: str, figure: Figure) -> str | None:
    """`0.12 to 0.15`, None where there is no interval."""
    if figure.low is None or figure.high is None:
        return None
    return f"{number_text(name, figure.low)} to {number_text(name, figure.high)}"


def p_text(figure: Figure) -> str | None:
    """`p = 0.012`, None where there was no test."""
    if figure.p_value is None:
        return None
    return "p < 0.001" if figure.p_value < 0.001 else f"p = {figure.p_value:.3f}"


def apart(first: Figure, second: Figure) -> bool:
    """Whether two figures have intervals, and these do not overlap."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    return first.low > second.high or second.low > first.high


def told_apart(figure: Figure) -> bool | None:
    """Whether the test of a figure says that its images differ from real ones; None where there was no test."""
    return None if figure.p_value is None else figure.p_value < ALPHA
