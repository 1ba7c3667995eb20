"""The figures in `docs/paper.md` are those of the published pages."""

from __future__ import annotations

import html
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = r"[-+]?\d+(?:\.\d+)?"


def test_every_figure_with_an_interval_stands_on_a_page_or_in_a_table_of_the_benchmarks() -> None:
    published = [*sorted(DOCS.rglob("*.html")), *sorted((DOCS / "benchmarks").glob("*.md"))]
    pages = "".join(page.read_text() for page in published)
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r'src="data:[^"]*"', "", pages))))
    figures = [
        tuple(map(float, found))
        for found in re.findall(rf"({NUMBER}) \(?({NUMBER}) to ({NUMBER})\)?", words.replace("+", ""))
    ]
    told = re.findall(rf"({NUMBER})(?: dB)? \(({NUMBER}) to ({NUMBER})\)", (DOCS / "paper.md").read_text())
    assert len(told) > 40

    def is_published(figure: tuple[str, str, str]) -> bool:
        decimals = max(len(text.partition(".")[2]) for text in figure)
        wanted, slack = [float(text) for text in figure], 0.501 * 10**-decimals
        return any(all(abs(a - b) <= slack for a, b in zip(wanted, one, strict=True)) for one in figures)

    assert [figure for figure in told if not is_published(figure)] == []
