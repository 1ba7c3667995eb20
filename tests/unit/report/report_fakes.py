"""An evaluation made up here, and what a browser would see of a page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from mrigen.condition_classifier.fidelity import FIGURES, SIDES
from mrigen.evaluation.extrapolation import ANSWERS, FLOOR, GENERATED, HEALTHY, NEAREST, CellScore, Extrapolation
from mrigen.evaluation.summary import Evaluation, ScopeRow
from mrigen.features.names import AUTOENCODER, MRI
from mrigen.images.index import Group
from mrigen.images.scopes import ScopeKind, all_scopes
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.comparison import DISTANCES
from mrigen.metrics.figure import Figure

LEAD = "efficientnet-lite0"
UNTRAINED = Cell.parse("Sclerosis:PD")
EMPTY = Cell.parse("Dementia:PD")
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}'


class Page(HTMLParser):
    """Tags with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += " " if tag in ("td", "th", "span") else ""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def images(self) -> list[np.ndarray]:
        sources = [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]
        encoded = [source.removeprefix("data:image/png;base64,") for source in sources]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text, validate=True)))) for text in encoded]


def check_loads_nothing(html: str) -> None:
    """Nothing but what stands in the page itself, and no script."""
    for tag, attrs in Page(html).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attrs.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "srcset", "action", "poster", "background"):
                assert (value or "").startswith("data:image/png;base64,"), (tag, name, value)
    assert not re.search(r"@import|url\(|https?://|src=['\"]?//", html)


def check_stays_text(html: str, at_least: int) -> None:
    """HOSTILE stands so often in the page, as text."""
    check_loads_nothing(html)
    words = Page(html).words
    assert words.count(HOSTILE) >= at_least
    assert "alert(1)>49" not in words


def picture(*key: int) -> np.ndarray:
    return np.random.default_rng(key).uniform(-1, 1, (64, 64)).astype(np.float32)


CLINICAL = ("bright_mm2", "bright_share", "pathology_of_bright", "ventricle_mm2")


def some_figures(kind: ScopeKind) -> dict[str, Figure]:
    """KID well above its floor, with a clear test; generated images a little more alike than real ones."""
    kid = Figure.of(0.5, 17, (0.4, 0.6))
    distances = {name: Figure.of(0.123456, 17, (0.1, 0.2)) for name in DISTANCES if name != "fid_infinity"}
    floors = {f"{name}_floor": Figure.of(0.11, 17, (0.05, 0.2)) for name in DISTANCES if name != "fid_infinity"}
    distances |= {**floors, "kid": kid.tested(0.0005), "kid_floor": Figure.of(0.01, 17, (-0.1, 0.1)).tested(0.4)}
    if kind != ScopeKind.CELL:
        distances |= {"fid_infinity": Figure.of(0.12, 17), "fid_infinity_floor": Figure.of(0.1, 17)}
    figures = {f"{extractor}/{name}": figure for extractor in (LEAD, MRI) for name, figure in distances.items()}
    figures |= {f"fidelity/{name}": Figure.of(0.75, 17, (0.7, 0.8)) for name in FIGURES if "calibration" not in name}
    figures |= {f"fidelity/{name}": Figure.of(0.05, 17) for name in FIGURES if "calibration" in name}
    if kind == ScopeKind.CELL:
        figures |= {
            f"clinical/{name}{side}": Figure.of(300.0, 17, (250.0, 350.0)) for name in CLINICAL for side in SIDES
        }
    figures["autoencoder/kid"] = Figure.missing("no trained autoencoder")
    figures["diversity/ms_ssim_generated"] = Figure.of(0.5, 17, (0.45, 0.55))
    figures["diversity/ms_ssim_real"] = Figure.of(0.4, 17, (0.35, 0.44))
    figures |= {f"autoencoder-quality/{name}": Figure.of(25.0, 17, (24.0, 26.0)) for name in ("psnr_db", "ssim", "mae")}
    figures["autoencoder-quality/lesion_mae"] = Figure.missing("no masks")
    figures["autoencoder-quality/kid_restored"] = Figure.of(0.04, 17, (0.03, 0.05))
    return figures


def some_evaluation(changes: Mapping[str, Figure] | None = None) -> Evaluation:
    """Every cell, one of them untrained and one without generated images; `changes` are laid over all rows."""
    images = {"held_out": 21, "held_out_subjects": 7, "generated": 20, "reference": 20}
    rows = []
    for scope in all_scopes({UNTRAINED}):
        figures = some_figures(scope.kind)
        if scope.cell == EMPTY:
            figures = {name: Figure.missing(f"no images here {HOSTILE}") for name in figures}
        rows.append(ScopeRow(scope, images, {**figures, **(changes or {})}))
    pictures = {
        (group, cell): [picture(n, g, k) for k in range(2)]
        for g, group in enumerate((Group.HELD_OUT, Group.GENERATED))
        for n, cell in enumerate(all_cells())
        if cell != EMPTY or group == Group.HELD_OUT
    }
    maps = {modality: np.abs(picture(n)) for n, modality in enumerate(Modality)}
    return Evaluation(
        "test",
        "ab" * 32,
        (LEAD, MRI),
        {LEAD: "12ab", MRI: "56ef", AUTOENCODER: "34cd"},
        rows,
        pictures,
        maps,
        classifier=some_classifier(),
        confusion={
            name: confusion(size) for name, size in (("pathology", len(Pathology)), ("modality", len(Modality)))
        },
    )


def some_classifier() -> dict[str, object]:
    """Trained on all cells but one, of which it saw nothing."""
    return {
        "counts": {str(cell): 0 if cell == EMPTY else 40 + cell.modality.row for cell in all_cells()},
        "temperatures": {"pathology": 1.25, "modality": 0.5},
        "checks": [{"step": 90, "pathology": 0.25, "modality": 0.125}],
    }


def confusion(num_classes: int) -> dict[str, list[list[int]]]:
    """Real images named right; of generated ones a quarter of the first class is taken for the last."""
    real, generated = 20 * np.eye(num_classes, dtype=int), 40 * np.eye(num_classes, dtype=int)
    generated[0, 0], generated[0, -1] = 30, 10
    return {"real": real.tolist(), "generated": generated.tolist()}


def some_extrapolation() -> Extrapolation:
    """Three unseen cells: one won clearly, one lost to a lazy answer, one without truth; and a cell that was seen."""
    kids = {
        UNTRAINED: {GENERATED: 0.1, FLOOR: 0.02, HEALTHY: 0.9, NEAREST: 1.4},
        Cell.parse("Dementia:T1ce"): {GENERATED: 0.5, FLOOR: 0.01, HEALTHY: 0.3, NEAREST: 1.1},
        Cell.parse("Glioblastoma:PD"): {},
        Cell.parse("Sclerosis:T1w"): {GENERATED: 0.05, FLOOR: 0.02, HEALTHY: 0.2, NEAREST: 0.8},
    }
    return Extrapolation(
        tuple(cell_score(cell, values, unseen=cell.modality != Modality.T1W) for cell, values in kids.items()),
        (LEAD, MRI),
    )


def cell_score(cell: Cell, kids: Mapping[str, float], *, unseen: bool = True, width: float = 0.05) -> CellScore:
    """The same KIDs by every extractor, `width` to either side their intervals; no truth for answers without one."""

    def figures(answer: str) -> dict[str, Figure]:
        kid = Figure.missing("no truth: no held-out real image of this cell", 20)
        if answer in kids:
            kid = Figure.of(kids[answer], 20, (kids[answer] - width, kids[answer] + width))
        accuracy = Figure.of(0.0 if answer == HEALTHY else 0.9, 20, (0.0, 0.95))
        return {f"{LEAD}/kid": kid, f"{MRI}/kid": kid, "pathology": accuracy, "modality": accuracy}

    stand_ins = {
        HEALTHY: Cell(Pathology.HEALTHY, cell.modality),
        NEAREST: Cell(cell.pathology, Modality.T2W),
    }
    return CellScore(cell, unseen, stand_ins, {answer: figures(answer) for answer in ANSWERS})


def without_intervals(evaluation: Evaluation) -> Evaluation:
    """The same with neither intervals nor tests, as for a handful of subjects."""
    rows = [
        replace(row, figures={k: replace(f, low=None, high=None, p_value=None) for k, f in row.figures.items()})
        for row in evaluation.rows
    ]
    return replace(evaluation, rows=rows)
