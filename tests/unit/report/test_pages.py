from __future__ import annotations

import re

import numpy as np

from mrigen.labels import all_cells
from mrigen.report.samples.page import samples_page
from mrigen.report.sheets import upright
from tests.unit.report.report_fakes import HOSTILE, UNTRAINED, Page, check_loads_nothing, check_stays_text, picture


def some_samples_page(**changes: object) -> str:
    cells = all_cells()
    values = {
        "title": "Samples",
        "images": {cell: [picture(n, k) for k in range(3)] for n, cell in enumerate(cells)},
        "untrained": [UNTRAINED],
        "counts": {cell: n + 1 for n, cell in enumerate(cells)},
        "facts": {"Model": "abc", "Seed": "0", "Command": "mrigen generate --out x"},
        "plane": "axial",
        "sources": ["IXI"],
    }
    return samples_page(**{**values, **changes})  # type: ignore[arg-type]


def test_the_page_loads_nothing_and_keeps_text_as_text() -> None:
    check_loads_nothing(some_samples_page())
    html = some_samples_page(title=HOSTILE, facts={HOSTILE: HOSTILE, "Command": HOSTILE})
    check_stays_text(html, 4)
    [policy] = [a["content"] for _, a in Page(html).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in (policy or "")


def test_the_samples_page_shows_images_counts_and_how_they_were_made() -> None:
    page = Page(some_samples_page())
    images = page.images()
    assert len(images) == 60
    assert np.array_equal(images[0], upright(picture(0, 0)))
    assert "210 synthetic images in 20 cells" in page.words
    assert "Every image here is synthetic" in page.words
    assert "was trained on images from IXI." in page.words
    assert "phantom" not in page.words
    assert "was trained on a phantom cohort:" in Page(some_samples_page(sources=["mrigen phantom cohort"])).words
    assert "left is left" in page.words
    assert "mrigen generate --out x" in page.words
    table = page.words[page.words.index("Images per cell") :]
    assert re.findall(r"\b\d+\b", table)[:6] == ["1", "2", "3", "4", "5", "15"]


def test_every_table_and_sheet_marks_the_untrained_cell() -> None:
    assert Page(some_samples_page()).words.count("never seen in training") == 3  # sheet, legend, foot of the table
    assert "never seen" not in Page(some_samples_page(untrained=[])).words
