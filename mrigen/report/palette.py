"""The colours of plots, which lie on white. Those of pages, light and dark, are variables of `style.css`."""

from __future__ import annotations

BLUE, RED, YELLOW, GREEN = "#3b82c4", "#d1495b", "#edae49", "#66a182"
"""Apart on light and on dark ground and in most kinds of colour blindness, beside different marks."""
BROWN = "#b9770e"
FAINT = "#7d8696"
GRID = "#e3e6ec"
