from __future__ import annotations

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mrigen.config import Config
from mrigen.labels import Cell, all_cells
from mrigen.metrics.figure import Figure
from mrigen.metrics.plan import Group
from mrigen.metrics.summary import FIGURES, Evaluation, Row
from mrigen.report.pages import figure_text, report_page, samples_page
from mrigen.report.sheets import upright
from mrigen.report.text import comparison_facts, figures_text, metrics_json, notices

UNTRAINED = Cell.parse("Sclerosis:PD")
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}'


class Page(HTMLParser):
    """What a browser would see of a page: tags with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += " " if tag in ("td", "th") else ""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def images(self) -> list[np.ndarray]:
        sources = [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]
        encoded = [source.removeprefix("data:image/png;base64,") for source in sources]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text, validate=True)))) for text in encoded]


def picture(*key: int) -> np.ndarray:
    return np.random.default_rng(key).uniform(-1, 1, (64, 64)).astype(np.float32)


def some_samples_page(**changes: object) -> str:
    cells = all_cells()
    values = {
        "title": "Samples",
        "images": {cell: [picture(n, k) for k in range(3)] for n, cell in enumerate(cells)},
        "untrained": [UNTRAINED],
        "counts": {cell: n + 1 for n, cell in enumerate(cells)},
        "facts": {"Model": "abc", "Seed": "0", "Command": "mrigen generate --out x"},
    }
    return samples_page(**{**values, **changes})  # type: ignore[arg-type]


def some_evaluation() -> Evaluation:
    figures = {name: Figure.of(0.123456, 17) for name in FIGURES}
    empty = {name: Figure.missing(f"no images here {HOSTILE}") for name in FIGURES}
    images = {"held_out": 21, "held_out_subjects": 7, "generated": 20, "reference": 20}
    cells = [
        Row(str(cell), cell, cell == UNTRAINED, images, empty if str(cell) == "Dementia:PD" else figures)
        for cell in all_cells()
    ]
    pooled = [
        Row("All trained cells", None, False, images, figures),
        Row("All untrained cells", None, True, images, figures),
    ]
    pictures = {
        (group, cell): [picture(n, g, k) for k in range(2)]
        for g, group in enumerate((Group.HELD_OUT, Group.GENERATED))
        for n, cell in enumerate(all_cells())
        if str(cell) != "Dementia:PD" or group == Group.HELD_OUT
    }
    return Evaluation("test", cells, pooled, pictures)


def some_report_page(**changes: object) -> str:
    values = {
        "title": "Report",
        "evaluation": some_evaluation(),
        "config": Config(),
        "notices": ["Read this first."],
        "facts": {"Model": "abc"},
    }
    return report_page(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [some_samples_page, some_report_page])
def test_pages_load_nothing(make: object) -> None:
    html = make()  # type: ignore[operator]
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attrs.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "srcset", "action", "poster", "background"):
                assert (value or "").startswith("data:image/png;base64,"), (tag, name, value)
    assert not re.search(r"@import|url\(|https?://|src=['\"]?//", html)
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in (policy or "")


@pytest.mark.parametrize(
    "html",
    [
        some_samples_page(title=HOSTILE, facts={HOSTILE: HOSTILE, "Command": HOSTILE}),
        some_report_page(title=HOSTILE, notices=[HOSTILE], facts={HOSTILE: HOSTILE, "Command": HOSTILE}),
    ],
)
def test_hostile_text_stays_text(html: str) -> None:
    page = Page(html)
    assert page.count("script") == 0
    assert all((attrs.get("src") or "data:").startswith("data:") for _, attrs in page.tags)
    assert page.words.count(HOSTILE) >= 4
    assert "49" not in re.findall(r"\b49\b", page.words)


def test_the_samples_page_shows_images_counts_and_how_they_were_made() -> None:
    page = Page(some_samples_page())
    images = page.images()
    assert len(images) == 60
    assert np.array_equal(images[0], upright(picture(0, 0)))
    assert "210 synthetic images in 20 cells" in page.words
    assert "Every image here is synthetic" in page.words
    assert "phantom" in page.words
    assert "left is left" in page.words
    assert "mrigen generate --out x" in page.words
    table = page.words[page.words.index("Images per cell") :]
    assert re.findall(r"\b\d+\b", table)[:6] == ["1", "2", "3", "4", "5", "15"]


def test_every_table_and_sheet_marks_the_untrained_cell() -> None:
    assert Page(some_samples_page()).words.count("never seen in training") == 3  # sheet, legend, foot of the table
    assert "never seen" not in Page(some_samples_page(untrained=[])).words
    page = Page(some_report_page())
    assert "Sclerosis:PD\xa0*" in page.words
    assert page.words.count("never seen in training") == 2  # picture, foot of the table
    assert page.words.count("\xa0*") == 1


def test_cells_without_samples_are_not_shown_as_such() -> None:
    counts = {Cell.parse("Healthy:T1w"): 2}
    images = {Cell.parse("Healthy:T1w"): [picture(0)] * 2}
    page = Page(some_samples_page(counts=counts, images=images, untrained=[UNTRAINED]))
    assert "2 synthetic images in 1 cell " in page.words
    assert "Glioblastoma" not in page.words
    assert "never seen" not in page.words


def test_real_stands_above_generated_and_only_that_is_called_synthetic() -> None:
    html = some_report_page()
    kinds = [attrs["alt"] for tag, attrs in Page(html).tags if tag == "img"]
    assert kinds[:4] == ["T1w, real"] * 2 + ["T1w, generated"] * 2
    assert Counter(kind.rsplit(", ")[-1] for kind in kinds if kind) == {"real": 40, "generated": 38}
    images = [attrs["src"] or "" for tag, attrs in Page(html).tags if tag == "img"]
    synthetic = [b"ynthetic" in base64.b64decode(image.partition(",")[2]) for image in images]
    assert synthetic == ["generated" in (kind or "") for kind in kinds]


def test_the_report_gives_every_figure_its_n_or_its_reason() -> None:
    page = Page(some_report_page())
    assert page.words.count("N 17") == 21 * 6
    assert page.words.count("no images here") == 1  # once, in the list that the notes point to
    assert page.words.count("none\xa01") == 6
    assert "Read this first." in page.words
    assert "NaN" not in page.words
    assert "None" not in page.words


def test_figures_are_rounded_for_reading() -> None:
    assert figure_text("fid", Figure.of(12.345, 3)) == "12.35"
    assert figure_text("ms_ssim_real", Figure.of(0.12345, 3)) == "0.123"
    assert figure_text("fid", Figure.missing("why")) is None


def test_the_terminal_table_lists_every_cell_and_marks_the_untrained() -> None:
    lines = figures_text(some_evaluation()).splitlines()
    assert len(lines) == 1 + 20 + 2 + 1
    assert len({len(line) for line in lines[:-1]}) == 1
    assert [line for line in lines if "*" in line] == [next(x for x in lines if "Sclerosis:PD" in x), lines[-1]]
    assert next(line for line in lines if line.startswith("Dementia:PD")).split()[-6:] == ["-"] * 6


def test_metrics_json_holds_figures_and_settings() -> None:
    real, generated = {"source": ["x"]}, {"model_sha256": ["ab"]}
    tree = metrics_json(some_evaluation(), Config(), ["note"], real, generated)
    assert len(tree["cells"]) == 20
    assert tree["cells"][0]["fid"] == {"value": 0.123456, "n": 17, "reason": None}
    assert tree["cells"][0]["pathology"] == "Healthy"
    assert tree["pooled"]["All untrained cells"]["untrained"] is True
    assert sum(tree["settings"]["ms_ssim_betas"]) == pytest.approx(1.0)
    assert (tree["real"], tree["generated"], tree["notices"]) == (real, generated, ["note"])


def test_a_phantom_and_missing_samples_are_told() -> None:
    assert notices({"source": ["hospital"]}, complete=True) == []
    assert "phantom" in notices({"source": ["mrigen-phantom 0.1"]}, complete=True)[0]
    assert "not complete" in notices({}, complete=False)[0]
    facts = comparison_facts(Config(), {"source": ["a", "b"], "licence": [""]}, {"num_steps": [20]})
    assert facts["Real images from"] == "a, b"
    assert facts["Steps"] == "20"
    assert "Licence of the real images" not in facts
