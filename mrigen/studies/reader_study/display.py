"""Images as readers see them: 8-bit grey levels in which a real image differs from a generated one in anatomy alone.

Real images have an even background and their own brightest value, generated ones nearly so; with a window narrow enough
a reader, or a program, could tell them by that. So all that is nearly black becomes black, and the brightest one in a
thousand of what remains white. Levels are kept bare, a byte a pixel: no file, no header, no compression whose size
would depend on the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Levels = np.ndarray[Any, np.dtype[np.uint8]]

BLACK = -0.94
"""Values in [-1, 1] up to this are background: 3 % of the range."""
_WHITE = 99.9


def shown_levels(image: np.ndarray[Any, Any]) -> Levels:
    """A slice `[x, y]` RAS+ with values in [-1, 1] -> grey levels [row, column], drawn the neurological way: background
    is 0, the greatest is 255.

    Raises ValueError for one that is not finite, not 2-D, or black all over.
    """
    if image.ndim != 2 or not np.isfinite(image).all():
        raise ValueError("a reader is shown slices of finite values")
    values = np.asarray(image, np.float64)
    bright = values[values > BLACK]
    if not len(bright):
        raise ValueError("an image is black all over")
    white = np.percentile(bright, _WHITE, method="lower")
    levels = np.rint(255 * np.clip((values - BLACK) / (white - BLACK), 0.0, 1.0)).astype(np.uint8)
    return np.ascontiguousarray(levels.T[::-1])
