from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from PIL import Image

from mrigen.labels import Cell, all_cells
from mrigen.report.sheets import contact_sheet_png, slice_png, upright

MARK = (240, 170, 60)


sheet_png = functools.partial(contact_sheet_png, plane="axial")


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def flat(value: float, shape: tuple[int, int] = (16, 16)) -> np.ndarray:
    return np.full(shape, value, np.float32)


def test_left_is_left_and_anterior_is_up() -> None:
    """RAS+: x grows to the subject's right, which the neurological display has on the right."""
    image = flat(-1.0, (10, 20))
    image[9, :] = 1.0  # the subject's right
    image[:, 19] = 0.0  # anterior
    picture = upright(image)
    assert picture.shape == (20, 10)
    assert (picture[1:, -1] == 255).all()
    assert (picture[0, :] == 128).all()
    assert (picture[1:, :-1] == 0).all()


def test_levels_run_from_black_to_white_and_clip() -> None:
    assert upright(np.array([[-1.0, -2.0], [1.0, 3.0]], np.float32)).tolist() == [[0, 255], [0, 255]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_drawn(value: float) -> None:
    image = flat(0.0)
    image[3, 4] = value
    with pytest.raises(ValueError, match="not finite"):
        slice_png(image, synthetic=True)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 4\)"):
        upright(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(ValueError, match="differ in size"):
        sheet_png({all_cells()[0]: [flat(0.0), flat(0.0, (8, 8))]})


def test_only_synthetic_images_say_that_they_are() -> None:
    assert "ynthetic" in opened(slice_png(flat(0.0), synthetic=True)).info["Description"]
    assert "Description" not in opened(slice_png(flat(0.0), synthetic=False)).info
    assert "ynthetic" in opened(sheet_png({all_cells()[0]: [flat(0.0)]})).info["Description"]


def test_a_contact_sheet_shows_every_cell_and_frames_the_untrained() -> None:
    cells = {cell: [flat(1.0)] * 4 for cell in all_cells()}
    marked = Cell.parse("Sclerosis:PD")
    plain, framed = opened(sheet_png(cells)), opened(sheet_png(cells, [marked]))
    for sheet in (plain, framed):
        assert (np.asarray(sheet) == 255).all(axis=-1).sum() >= 20 * 4 * 32 * 32
    assert not (np.asarray(plain) == MARK).all(axis=-1).any()
    rows, columns = np.nonzero((np.asarray(framed) == MARK).all(axis=-1))
    frame = columns > framed.width * 0.7  # the last column is PD; the note is at the left below
    assert frame.sum() > 100
    assert framed.height * 0.45 < rows[frame].mean() < framed.height * 0.75  # the third row of four


def test_a_contact_sheet_leaves_out_empty_rows_and_columns() -> None:
    full = opened(sheet_png({cell: [flat(0.0, (64, 64))] for cell in all_cells()}))
    one = {Cell.parse("Healthy:T1w"): [flat(0.0, (64, 64))], Cell.parse("Dementia:T1w"): []}
    sheet = opened(sheet_png(one))
    assert sheet.width < full.width / 2
    assert sheet.height < full.height / 1.5
    with pytest.raises(ValueError, match="at least one image"):
        sheet_png({Cell.parse("Healthy:T1w"): []})
