"""Images as PNG: one slice, and the contact sheet pathology x modality.

Slices come as `[x, y]` arrays in NIfTI axis order, RAS+, and are drawn the neurological way: the
subject's left on the left, the front of the head up. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.pictures import SYNTHETIC_TEXT, upright

Slice = np.ndarray[Any, np.dtype[np.float32]]
"""One image (X, Y), values in [-1, 1]."""

UNTRAINED_TEXT = "never seen in training"
ORIENTATION_TEXTS = {
    "axial": "Axial slices, neurological display: left is left, anterior is up.",
    "coronal": "Coronal slices, neurological display: left is left, superior is up.",
    "sagittal": "Sagittal slices: posterior is left, superior is up.",
}
"""How slices of each `data.plane` are drawn."""

_BACKGROUND, _TEXT, _FAINT, _MARK = (17, 19, 24), (232, 234, 238), (140, 146, 158), (240, 170, 60)
_GAP, _MARGIN = 2, 12


def slice_png(image: Slice, *, synthetic: bool) -> bytes:
    """One slice at its own size; a synthetic one says so in the PNG's text."""
    return _encode(Image.fromarray(upright(image)), synthetic=synthetic)


def contact_sheet_png(
    cells: Mapping[Cell, Sequence[Slice]],
    untrained: Collection[Cell] = (),
    scale: int = 2,
    *,
    synthetic: bool = True,
    plane: str,
) -> bytes:
    """Pathologies down, modalities across, every image of a cell in one block; untrained cells are framed.

    Rows and columns without any image are left out. Raises ValueError if there is no image at all.
    """
    filled = {cell: images for cell, images in cells.items() if images}
    if not filled:
        raise ValueError("a contact sheet needs at least one image")
    rows = [p for p in Pathology if any(cell.pathology == p for cell in filled)]
    columns = [m for m in Modality if any(cell.modality == m for cell in filled)]
    per_line = math.ceil(math.sqrt(max(len(images) for images in filled.values())))
    tiles = {cell: _tile(images, per_line, scale) for cell, images in filled.items()}
    width, height = max(tile.width for tile in tiles.values()), max(tile.height for tile in tiles.values())

    size = max(13, min(26, width // 9))
    font, small = ImageFont.load_default(size), ImageFont.load_default(max(11, size * 3 // 5))
    left = _MARGIN + int(max(font.getlength(str(p)) for p in rows)) + _MARGIN
    top = _MARGIN + 2 * size
    notes = [(SYNTHETIC_TEXT, _FAINT)] if synthetic else []
    notes.append((ORIENTATION_TEXTS[plane], _FAINT))
    if marked := [cell for cell in all_cells() if cell in filled and cell in untrained]:
        notes.append((f"Framed: {UNTRAINED_TEXT} ({', '.join(str(cell) for cell in marked)}).", _MARK))
    pitch_x, pitch_y = width + _MARGIN, height + _MARGIN
    sheet_width = left + len(columns) * pitch_x
    lines = [(line, color) for note, color in notes for line in _wrap(note, small, sheet_width - 2 * _MARGIN)]
    line_height = size
    sheet_height = top + len(rows) * pitch_y + len(lines) * line_height + _MARGIN
    sheet = Image.new("RGB", (sheet_width, sheet_height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, modality in enumerate(columns):
        draw.text((left + column * pitch_x + width // 2, top - size // 2), str(modality), _TEXT, font, anchor="ms")
    for row, pathology in enumerate(rows):
        y = top + row * pitch_y
        draw.text((left - _MARGIN, y + height // 2), str(pathology), _TEXT, font, anchor="rm")
        for column, modality in enumerate(columns):
            x, cell = left + column * pitch_x, Cell(pathology, modality)
            if cell in tiles:
                sheet.paste(tiles[cell], (x, y))
            else:
                draw.text((x + width // 2, y + height // 2), "none", _FAINT, small, anchor="mm")
            if cell in marked:
                draw.rectangle((x - 4, y - 4, x + width + 3, y + height + 3), outline=_MARK, width=3)
    for index, (line, color) in enumerate(lines):
        draw.text((_MARGIN, top + len(rows) * pitch_y + index * line_height), line, color, small)
    return _encode(sheet, synthetic=synthetic)


def _tile(images: Sequence[Slice], columns: int, scale: int) -> Image.Image:
    pictures = [upright(image) for image in images]
    height, width = pictures[0].shape
    if any(picture.shape != (height, width) for picture in pictures):
        raise ValueError(f"images of one grid differ in size: {sorted({p.shape for p in pictures})}")
    height, width = height * scale, width * scale
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    tile = Image.new("L", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        tile.paste(enlarged, (column * (width + _GAP), row * (height + _GAP)))
    return tile


def _wrap(note: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a note into lines no wider than `width` pixels."""
    lines, line = [], ""
    for word in note.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


def _encode(image: Image.Image, *, synthetic: bool) -> bytes:
    text = PngInfo()
    text.add_text("Software", "mrigen")
    if synthetic:
        text.add_text("Description", SYNTHETIC_TEXT)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, compress_level=9)
    return buffer.getvalue()
