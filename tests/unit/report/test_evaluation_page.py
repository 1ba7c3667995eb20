from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mrigen.config import Config
from mrigen.images.scopes import ScopeKind
from mrigen.labels import Modality
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import TIMES, width_name
from mrigen.report.evaluation.page import report_page
from mrigen.report.evaluation.plots import error_map_plot, interval_plot
from mrigen.report.figure_text import apart, figure_text, interval_text, p_text, told_apart
from tests.unit.report.report_fakes import (
    HOSTILE,
    LEAD,
    Page,
    check_loads_nothing,
    check_stays_text,
    some_evaluation,
    some_extrapolation,
    without_intervals,
)


def some_report_page(**changes: object) -> str:
    values = {
        "title": "Report",
        "evaluation": some_evaluation(),
        "config": Config(),
        "notices": ["Read this first."],
        "facts": {"Model": "abc"},
    }
    return report_page(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def html() -> str:
    return some_report_page()


@pytest.fixture
def no_interval_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """For pages of which only the words count: drawing takes most of their time."""
    monkeypatch.setattr("mrigen.report.evaluation.page.interval_plot", lambda *_, **__: b"plot")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="module")
def odd_html() -> str:
    """A page of hostile text, without intervals, with one figure of another N, and with extrapolation."""
    evaluation = without_intervals(some_evaluation({f"{LEAD}/kid": Figure.of(0.5, 16)}))
    evaluation = replace(evaluation, extrapolation=some_extrapolation())
    facts = {HOSTILE: HOSTILE, "Command": HOSTILE}
    return some_report_page(title=HOSTILE, notices=[HOSTILE], facts=facts, evaluation=evaluation)


@pytest.fixture(scope="module")
def odd(odd_html: str) -> Page:
    return Page(odd_html)


def test_the_page_loads_nothing_and_keeps_text_as_text(html: str, odd_html: str) -> None:
    check_loads_nothing(html)
    check_stays_text(odd_html, 5)


def test_the_verdict_comes_before_any_figure(page: Page) -> None:
    places = [
        page.words.index(text) for text in ("Read this first.", "Verdict", "generated images can be told", "Plots")
    ]
    assert places == sorted(places)


def test_the_untrained_cell_is_marked_in_every_table(page: Page) -> None:
    tables = [page.words[m.start() : m.start() + 30] for m in re.finditer("Sclerosis:PD", page.words)]
    assert sum("\xa0*" in text for text in tables) == 5  # distribution twice, diversity, fidelity, autoencoder
    assert page.words.count("never seen in training:") == 1


def test_real_stands_above_generated_and_only_that_is_called_synthetic(page: Page) -> None:
    shown = [attrs for tag, attrs in page.tags if tag == "img" and re.search(", (real|generated)$", attrs["alt"] or "")]
    kinds = [attrs["alt"] or "" for attrs in shown]
    assert kinds[:4] == ["T1w, real"] * 2 + ["T1w, generated"] * 2
    assert Counter(kind.rsplit(", ")[-1] for kind in kinds) == {"real": 40, "generated": 38}
    synthetic = [b"ynthetic" in base64.b64decode((attrs["src"] or "").partition(",")[2]) for attrs in shown]
    assert synthetic == ["generated" in kind for kind in kinds]
    assert all(attrs.get("tabindex") == "0" for attrs in shown)  # a click enlarges them


def test_every_row_has_its_n_and_every_figure_its_interval_or_its_reason(page: Page) -> None:
    assert page.words.count("N 17") == 2 * (11 + 19) + 3 * (11 + 19) + 12  # rows, without the one that has no figure
    tables = page.words[page.words.index("Distribution, by") :]
    assert tables.count("0.400 to 0.600") == 2 * (11 + 19)
    assert tables.count("p < 0.001") == 2 * (11 + 19)
    assert page.words.count("no images here") == 1  # once, in the list that the notes point to
    assert "None: no trained autoencoder." in page.words
    assert "NaN" not in page.words
    assert "nan" not in page.words
    assert "None\n" not in page.words


def test_only_the_extractors_that_were_used_are_explained(page: Page) -> None:
    words = " ".join(page.words[page.words.index("What the figures mean") :].split())
    for text in (
        "efficientnet-lite0: trained on photographs",
        "mri: what this run's own classifier",
    ):
        assert text in words, text
    assert "radimagenet" not in words
    assert "autoencoder: latents" not in words


def test_what_the_page_explains_is_what_this_run_has(page: Page, no_interval_plots: None) -> None:
    def words_of(config: Config) -> str:
        return " ".join(Page(some_report_page(config=config)).words.split())

    small = " ".join(page.words.split())
    assert "Taken over 3 scales, all that 64 pixels have room for" in small
    assert "How well held-out real images survive encoding" in small
    assert "noise of its own" not in small
    large = words_of(Config.model_validate({"data": {"image_size": 256}, "autoencoder": {"network": "conv"}}))
    assert "Taken over the five scales of Wang et al." in large
    assert "it does not compare" not in large
    assert "Its decoder draws noise of its own, which no PSNR rewards." in large
    assert "survive encoding" not in words_of(Config(codec="pixels"))


def test_n_stands_with_each_figure_where_they_differ(odd: Page) -> None:
    assert odd.words.count("N 16") == 11 + 20


def test_extrapolation_stands_there_only_when_asked_for(page: Page, odd: Page) -> None:
    assert "Extrapolation" not in page.words
    words = odd.words
    assert words.index("Condition fidelity") < words.index("Extrapolation") < words.index("Autoencoder")
    assert words.count("In 1 of 2 unseen cells the generated images are nearer") == 2  # in the verdict too
    assert words.count("no truth: no held-out real image of this cell") == 1  # in the list that the notes point to
    plots = [attrs["alt"] or "" for tag, attrs in odd.tags if tag == "img" and attrs.get("alt")]
    assert sum("two lazy answers" in alt for alt in plots) == 1


def test_plots_are_there_and_the_same_every_time(page: Page) -> None:
    assert sum("plot" in (attrs.get("class") or "") for tag, attrs in page.tags if tag == "div") == 6
    rows = some_evaluation().of_kind(ScopeKind.CELL)[:2]
    first, again = (interval_plot(rows, [("KID", f"{LEAD}/kid", f"{LEAD}/kid_floor")]) for _ in range(2))
    assert first == again is not None
    assert interval_plot(rows, [("none", "autoencoder/kid", "autoencoder/kid")]) is None
    assert error_map_plot({}) is None
    zero = np.zeros((8, 8), np.float32)
    assert error_map_plot({Modality.T1W: zero}) != error_map_plot({Modality.T1W: zero, Modality.PD: zero + 1})


def test_a_page_without_intervals_says_so_nowhere_with_nan(odd: Page) -> None:
    assert "0.400 to 0.600" not in odd.words
    assert "nan" not in odd.words.replace("Anan", "")


def test_figures_are_rounded_for_reading() -> None:
    assert figure_text("x/fid", Figure.of(12.345, 3)) == "12.3"
    assert figure_text("x/kid_floor", Figure.of(-0.00001, 3)) == "0.000"
    assert figure_text("diversity/ms_ssim_real", Figure.of(0.12345, 3)) == "0.123"
    assert figure_text("x/fid", Figure.missing("why")) is None
    assert interval_text("x/precision", Figure.of(0.5, 3, (0.25, 0.756))) == "0.25 to 0.76"
    assert interval_text("x/fid", Figure.of(0.5, 3)) is None
    texts = [p_text(Figure.of(1.0, 3).tested(p)) for p in (None, 0.0005, 0.0123)]
    assert texts == [None, "p < 0.001", "p = 0.012"]


def test_intervals_are_apart_only_where_both_are_there() -> None:
    low, high = Figure.of(1.0, 3, (0.5, 1.5)), Figure.of(2.0, 3, (1.6, 2.5))
    assert apart(low, high)
    assert apart(high, low)
    assert not apart(low, Figure.of(2.0, 3, (1.5, 2.5)))
    assert not apart(low, Figure.of(99.0, 3))
    assert [told_apart(low.tested(p)) for p in (None, 0.009, 0.01)] == [None, True, False]


def test_the_page_tells_how_many_images_a_cell_needs(html: str, no_interval_plots: None) -> None:
    figures = {f"{LEAD}/kid": Figure.of(0.2, 24, (0.0, 0.4))}
    for times in TIMES:
        figures[f"{LEAD}/{width_name('both', times)}"] = Figure.of(0.4 / times**0.5, round(24 * times))
        figures[f"{LEAD}/{width_name('samples', times)}"] = Figure.of(0.3 + 0.1 / times**0.5, round(24 * times))
    words = Page(some_report_page(evaluation=some_evaluation(figures))).words
    at = words.index("Images that each cell needs")
    assert "Healthy:T1w 24 7 0.4 96 more than 384 96 more than 384" in words[at:]
    assert "How many images?" not in html
