"""A slice as a picture, and as a PNG that says by itself that it is synthetic and how to make it again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mrigen import __version__

SYNTHETIC_TEXT = "Synthetic brain MRI made by mrigen: no patient, not for diagnosis."


def upright(image: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """A slice `[x, y]` RAS+ -> 8-bit picture [row, column]: left is left, anterior up.

    Values outside [-1, 1] are clipped. Raises ValueError for a NaN or infinity, or if it is not 2-D.
    """
    if image.ndim != 2:
        raise ValueError(f"a slice has two axes (X, Y), this array has shape {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError("a slice to be drawn holds values that are not finite")
    levels = np.rint((np.clip(np.asarray(image, np.float32), -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
    return np.ascontiguousarray(levels.T[::-1])


def sample_png(image: NDArray[np.floating[Any]], provenance: Mapping[str, Any]) -> bytes:
    """A synthetic slice (X, Y) in [-1, 1] as 8-bit PNG, with its provenance as text."""
    text = PngInfo()
    text.add_text("Software", f"mrigen {__version__}")
    text.add_text("Description", SYNTHETIC_TEXT)
    text.add_text("mrigen", json.dumps(provenance, allow_nan=False))
    buffer = io.BytesIO()
    Image.fromarray(upright(image)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
