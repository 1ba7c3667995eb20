from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrigen.audit.decision import Audit, Neighbour, Query, decide, decide_cell
from mrigen.audit.likeness import Alignment
from mrigen.audit.pairing import AuditPlan, CellBlock, Counterparts
from mrigen.config import AuditConfig, Config
from mrigen.images.index import Group, ImageRow
from mrigen.labels import Cell
from mrigen.report.audit import page as audit_page_module
from mrigen.report.audit.page import Pair, audit_page, difference, shown_pairs
from mrigen.report.audit.words import audit_json, explanation, p_value_text, verdict
from mrigen.storage import Location
from tests.fake_run import made_up_image
from tests.unit.report.report_fakes import HOSTILE, Page, check_stays_text

CELL, UNTRAINED, POOR = (Cell.parse(name) for name in ("Healthy:T1w", "Healthy:PD", "Dementia:PD"))
SETTINGS = AuditConfig()


def query(name: str, training: float, held_out: float, owner: str = "a") -> Query:
    alignments = Alignment(training, True, (1, -2)), Alignment(held_out, False, (0, 0))
    return Query(name, owner, *(Neighbour(f"near-{name}", 0.5, alignment) for alignment in alignments))


def some_audit(num_copies: int = 0) -> Audit:
    generator = np.random.default_rng(0)
    held_out, fresh = (
        [query(f"{kind}{k}", *generator.uniform(0.6, 0.8, 2).tolist(), owner=str(k % 10)) for k in range(60)]
        for kind in "hs"
    )
    copies = [query(f"copy{k}", 0.98 + k / 10000, 0.75) for k in range(num_copies)]
    return decide(
        [
            decide_cell(CELL, (CELL,), fresh + copies, held_out, SETTINGS),
            decide_cell(UNTRAINED, (CELL,), fresh[:20], held_out, SETTINGS),
            decide_cell(POOR, (POOR,), fresh[:3], held_out[:4], SETTINGS),
        ],
        SETTINGS,
    )


def some_plan() -> AuditPlan:
    def rows(count: int) -> tuple[ImageRow, ...]:
        return tuple(ImageRow(Group.REFERENCE, 0, k, f"{k}", f"p{k // 4}", CELL, 0.0, "") for k in range(count))

    blocks = (CellBlock(Group.REFERENCE, CELL, rows(40)), CellBlock(Group.HELD_OUT, CELL, rows(20)))
    own, poor = Counterparts((CELL,), (CELL,)), Counterparts((POOR,), (POOR,))
    return AuditPlan((), blocks, (), {CELL: own, UNTRAINED: own, POOR: poor}, (), (32, 32), "x")


def some_pairs(name: str = "sample") -> list[Pair]:
    pictures = [made_up_image(k) for k in range(3)]
    first = Pair(CELL, query(name, 0.99, 0.7), True, True, *pictures)
    bare = replace(query("x", 0.5, 0.5), held_out=None)
    return [first, Pair(CELL, bare, False, False, pictures[0], pictures[1], None)]


def some_page(num_copies: int = 0, **changes: object) -> str:
    values = {
        "title": "Audit",
        "audit": some_audit(num_copies),
        "plan": some_plan(),
        "pairs": some_pairs(),
        "config": Config(),
        "notices": ["Read this."],
        "facts": {"Command": "mrigen audit run"},
        "split": "test",
    }
    return audit_page(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(some_page())


def test_the_page_loads_nothing_and_keeps_text_as_text() -> None:
    facts = {HOSTILE: HOSTILE}
    check_stays_text(some_page(title=HOSTILE, notices=[HOSTILE], facts=facts, pairs=some_pairs(HOSTILE)), 5)


def test_the_verdict_comes_first_and_never_says_too_much(page: Page) -> None:
    clean, copied = page.words, Page(some_page(25)).words
    assert clean.index("No copies detected; 3 samples were not judged.") < clean.index("Counts")
    assert "anonym" not in (clean + copied).casefold()
    audit = some_audit(25)
    assert f"{audit.matches.count} samples look like copies" in copied
    assert copied.index("look like copies") < copied.index("Counts")
    assert "shows real training" in clean
    assert [text.count("That no copy was detected") for text in (clean, copied)] == [1, 0]


def test_the_page_tells_what_is_flagged_by_chance_by_its_own_settings() -> None:
    for percentile, words in (
        (99.0, "1 % are by chance; with fewer than 100 held-out images"),
        (97.5, "2.5 % are by chance; with fewer than 40 held-out images"),
    ):
        config = Config.model_validate({"audit": {"percentile": percentile}})
        assert words in " ".join(Page(some_page(config=config)).words.split())


def test_every_verdict_has_its_words() -> None:
    assert verdict(some_audit()) == "No copies detected; 3 samples were not judged."
    assert verdict(decide(some_audit().cells[:2], SETTINGS)) == "No copies detected."
    audit = decide([some_audit().cells[2]], SETTINGS)
    assert verdict(audit) == "Nothing could be judged."
    assert "No cell has" in explanation(audit, Config())
    passed, failed = some_audit(), some_audit(25)
    assert f"It would have failed at {passed.detectable} matches." in explanation(passed, Config())
    assert "p < 0.0001" in explanation(failed, Config())
    assert "That matches are no more frequent among samples has p = 1;" in explanation(passed, Config())
    assert "about 2 would be by chance" in explanation(failed, Config())  # 105 and 20 samples, each 1 of 61
    blind = replace(passed, detectable=None)
    assert verdict(blind) == "Too few images to tell a copy."
    assert "could not have failed" in explanation(blind, Config())
    assert [p_value_text(p) for p in (None, 0.5, 0.00123, 1e-9)] == ["-", "0.5", "0.0012", "< 0.0001"]


def test_counts_intervals_and_reasons_are_in_the_table(page: Page) -> None:
    words = page.words
    assert re.search(r"\b40\s*10 subjects", words)
    assert "Not judged: 4 held-out images of 4 subjects: 10 of 2 are needed." in words
    assert "Healthy:PD\xa0*" in words
    assert "compared with the trained cells of its pathology or its modality: Healthy:T1w" in words
    low, high = some_audit().flagged.interval
    assert f"{100 * low:.1f} to {100 * high:.1f} %" in words
    assert not re.search(r"\b(nan|none|inf)\b", words[words.index("Counts") :].casefold())


def test_pairs_show_who_resembles_whom_and_how_it_was_moved(page: Page) -> None:
    words = page.words
    assert "sample → near-sample (held-out: near-sample); moved by (1, -2) px, mirrored; features 0.500" in words
    assert "no held-out image" in words
    assert page.count("figure") == 8


def test_the_difference_of_a_moved_mirrored_scaled_copy_is_black() -> None:
    training = made_up_image("real")
    sample = 0.5 * np.roll(training, (-1, 2), (0, 1))[::-1] + 0.1
    inside = training > -0.98
    black = difference(sample, training, Alignment(1.0, True, (1, -2)))
    assert np.all(black[~inside] == -1.0)
    assert black[inside].max() == pytest.approx(-1.0, abs=1e-4)
    assert difference(sample, training, Alignment(1.0, False, (0, 0)))[inside].max() > -0.5
    assert np.all(difference(np.zeros_like(training), training, Alignment(0.0, False, (0, 0))) == -1.0)


def test_matches_are_shown_first_then_flagged_then_the_most_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = query("smooth", 0.95, 0.95)
    audit = some_audit(3)
    cell = replace(audit.cells[0], samples=(smooth, *audit.cells[0].samples))
    wanted: set[tuple[Group, str]] = set()

    def images(plan: object, folder: object, asked: set[tuple[Group, str]]) -> dict:
        wanted.update(asked)
        return {key: made_up_image(key) for key in asked}

    monkeypatch.setattr(audit_page_module, "read_images", images)
    pairs = shown_pairs(replace(audit, cells=(cell,)), some_plan(), Location.parse("x"))
    assert [pair.query.id for pair in pairs[:4]] == ["copy2", "copy1", "copy0", "smooth"]
    assert [(pair.match, pair.flagged) for pair in pairs[2:5]] == [(True, True), (False, True), (False, False)]
    assert len(pairs) == 24
    similarities = [pair.query.training.similarity for pair in pairs[4:] if pair.query.training]
    assert similarities == sorted(similarities, reverse=True)
    assert (Group.REFERENCE, "near-copy2") in wanted


def test_json_holds_everything_and_only_finite_numbers(tmp_path: Path) -> None:
    audit = some_audit(25)
    tree = audit_json(audit, some_plan(), Config(), ["note"], {"source": ["x"]}, {"solver": ["y"]}, split="test")
    Location.parse(tmp_path / "audit.json").write_json(tree)
    tree = json.loads((tmp_path / "audit.json").read_text())
    assert tree["failed"] is True
    assert tree["overall"]["matches"]["count"] == audit.matches.count
    assert tree["overall"]["not_judged"] == 3
    first, second, poor = tree["cells"]
    assert first["training"] == {"images": 40, "subjects": 10}
    assert (second["trained"], second["compared_with"]) == (False, ["Healthy:T1w"])
    assert (poor["threshold"], poor["p_value"]) == (None, None)
    assert "held-out" in poor["reason"]
    flagged = {sample["id"]: sample for sample in tree["flagged_samples"]}
    assert len(flagged) >= 25
    assert flagged["copy0"]["match"] is True
    assert flagged["copy0"]["training"] == {
        "id": "near-copy0",
        "similarity": 0.98,
        "feature_cosine": 0.5,
        "mirrored": True,
        "shift": [1, -2],
    }
    assert tree["notices"][0] == "note"
