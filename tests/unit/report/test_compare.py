from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.evaluation.extrapolation import FLOOR, GENERATED, HEALTHY, NEAREST
from mrigen.metrics.figure import Figure
from mrigen.report.compare import comparison_text, read_metrics
from mrigen.report.evaluation.metrics_json import metrics_json
from mrigen.storage import Location
from tests.unit.report.report_fakes import (
    LEAD,
    UNTRAINED,
    cell_score,
    some_classifier,
    some_evaluation,
    some_extrapolation,
)


def written(folder: Path, changes: dict[str, Figure] | None = None, **top: Any) -> Location:
    evaluation = replace(some_evaluation(changes), extrapolation=some_extrapolation())
    tree = metrics_json(evaluation, Config(), [], {}, {})
    Location.parse(folder / "report" / "metrics.json").write_json({**tree, **top})
    return Location.parse(folder)


def compared(tmp_path: Path, changes: dict[str, Figure] | None = None, *, cells: bool = False, **top: Any) -> list[str]:
    first, second = written(tmp_path / "a"), written(tmp_path / "b", changes, **top)
    return comparison_text(read_metrics(first), read_metrics(second), cells=cells).splitlines()


def settings(**identities: str) -> dict[str, Any]:
    """Those of a file in which some extractors have other identities."""
    found: dict[str, Any] = metrics_json(some_evaluation(), Config(), [], {}, {})["settings"]
    other = {name: {"identity": identity, "used": True} for name, identity in identities.items()}
    return {**found, "extractors": {**found["extractors"], **other}}


def without_mri() -> dict[str, Any]:
    """Those of an evaluation that asked for no features of the classifier."""
    found = settings()
    return {**found, "extractors": {name: one for name, one in found["extractors"].items() if name != "mri"}}


def tables(lines: list[str]) -> dict[str, list[list[str]]]:
    """The rows below each title."""
    blocks = [block.splitlines() for block in "\n".join(lines).split("\n\n")[1:-1]]
    return {re.split(r" {2,}", head)[0]: [re.split(r" {2,}", line) for line in rest] for head, *rest in blocks}


def test_figures_stand_side_by_side_and_intervals_apart_are_marked(tmp_path: Path) -> None:
    lines = compared(tmp_path, {f"{LEAD}/kid": Figure.of(0.2, 17, (0.1, 0.3)), f"{LEAD}/fid": Figure.missing("few")})
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [f"{LEAD}/kid"])
    assert lines[start].split() == [f"{LEAD}/kid", "A", "B"]
    shown = ["All trained cells", "0.500 (0.400 to 0.600)", "0.200 (0.100 to 0.300)", "*"]
    assert re.split(r" {2,}", lines[start + 1]) == shown
    precision = next(i for i, line in enumerate(lines) if line.split()[:1] == [f"{LEAD}/precision"])
    assert not lines[precision + 1].endswith("*")
    fid = next(i for i, line in enumerate(lines) if line.split()[:1] == [f"{LEAD}/fid"])
    assert lines[fid + 1].split()[-2:] == ["none", "(1)"]
    assert "(1) few" in lines
    assert lines[-1].startswith("* the 95 % intervals")
    assert "Healthy:T1w" not in "\n".join(lines)
    assert "nan" not in "\n".join(lines).lower()


def test_a_report_folder_or_the_file_itself_will_do(tmp_path: Path) -> None:
    run = written(tmp_path)
    assert read_metrics(run) == read_metrics(run / "report") == read_metrics(run / "report" / "metrics.json")


def test_other_held_out_images_and_other_networks_are_told(tmp_path: Path) -> None:
    lines = compared(tmp_path, held_out_sha256="cd" * 32, settings=settings(autoencoder="other"))
    assert "held against different images" in lines[2]
    assert lines[3] == ("note: A and B have different networks for autoencoder: figures of their features are left out")
    assert lines[4] == ""
    assert not any(line.startswith("autoencoder/kid") for line in lines)
    assert any(line.startswith("autoencoder-quality/psnr_db") for line in lines)
    assert "fidelity/pathology" in tables(lines)


def test_another_classifier_takes_its_features_and_its_word_with_it(tmp_path: Path) -> None:
    alike, unlike = tables(compared(tmp_path)), compared(tmp_path, settings=settings(mri="other"))
    assert "different networks for mri:" in unlike[2]
    assert unlike[3] == (
        "note: A and B were not asked of the same classifier: figures of condition fidelity are left out"
    )
    gone = set(alike) - set(tables(unlike))
    assert {"mri/kid", "fidelity/pathology", "fidelity/modality_real", "extrapolation: mri/kid"} <= gone
    assert {"extrapolation: pathology", "extrapolation: modality"} <= gone
    assert {f"{LEAD}/kid", f"extrapolation: {LEAD}/kid"} <= set(tables(unlike))


@pytest.mark.parametrize(
    ("classifiers", "same"),
    [
        ((some_classifier(), some_classifier()), True),
        (
            (some_classifier(), {**some_classifier(), "checks": [{"step": 90, "pathology": 0.26, "modality": 0.125}]}),
            False,
        ),
        (({**some_classifier(), "checks": []},) * 2, False),  # nothing tells the weights apart
        ((some_classifier(), None), False),
        ((None, None), False),
    ],
)
def test_classifiers_are_told_apart_without_their_features(
    tmp_path: Path, classifiers: tuple[dict[str, Any] | None, ...], same: bool
) -> None:
    first, second = (
        read_metrics(written(tmp_path / str(n), judge=classifier, settings=without_mri()))
        for n, classifier in enumerate(classifiers)
    )
    text = comparison_text(first, second, cells=False)
    assert ("not asked of the same classifier" in text) is not same
    assert ("\nfidelity/pathology " in text) is same


def test_extrapolation_compares_answer_by_answer(tmp_path: Path) -> None:
    found = some_extrapolation()
    kids = {GENERATED: 0.5, FLOOR: 0.02, HEALTHY: 0.9, NEAREST: 1.4}
    other = replace(found, scores=(cell_score(UNTRAINED, kids), *found.scores[1:]))
    table = tables(compared(tmp_path, extrapolation=other.as_json()))[f"extrapolation: {LEAD}/kid"]
    assert table == [
        ["Sclerosis:PD, generated", "0.100 (0.050 to 0.150)", "0.500 (0.450 to 0.550)", "*"],
        ["Sclerosis:PD, real", "0.020 (-0.030 to 0.070)", "0.020 (-0.030 to 0.070)"],
        ["Sclerosis:PD, Healthy:PD", "0.900 (0.850 to 0.950)", "0.900 (0.850 to 0.950)"],
        ["Sclerosis:PD, Sclerosis:T2w", "1.400 (1.350 to 1.450)", "1.400 (1.350 to 1.450)"],
    ]
    with_cells = tables(compared(tmp_path, cells=True))[f"extrapolation: {LEAD}/kid"]
    assert "Sclerosis:T1w, generated" in [row[0] for row in with_cells]


def test_extrapolation_of_one_alone_is_told(tmp_path: Path) -> None:
    lines = compared(tmp_path, extrapolation=None)
    assert lines[2] == "note: only A has figures of extrapolation: left out"
    assert not any(title.startswith("extrapolation") for title in tables(lines))
    assert not any("note:" in line for line in compared(tmp_path))


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"split": "val"}, 'split is "test" and "val"'),
        ({"feature_size": 64}, "feature_size is 128 and 64"),
        ({"extractors": {"autoencoder": {"identity": "x", "used": True}}}, "extractors is .* and .*autoencoder"),
        ({"ms_ssim_betas": [1.0]}, "ms_ssim_betas"),
    ],
)
def test_what_does_not_compare_is_refused(tmp_path: Path, top: dict[str, Any], message: str) -> None:
    if "split" not in top:
        top = {"settings": {**settings(), **top}}
    with pytest.raises(InputError, match=message):
        compared(tmp_path, **top)


def test_files_that_are_not_metrics_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metrics.json in .*: run `mrigen evaluate` first"):
        read_metrics(Location.parse(tmp_path))
    with pytest.raises(InputError, match="schema_version is 99, not 2: run `mrigen evaluate` anew"):
        read_metrics(written(tmp_path, schema_version=99))
    with pytest.raises(InputError, match="is not as `mrigen evaluate` writes it: KeyError"):
        read_metrics(written(tmp_path, rows=[{"name": "x"}]))
    for top in (
        {"settings": {"extractors": []}},
        {"extrapolation": []},
        {"extrapolation": {"cells": [{"stand_ins": []}]}},
    ):
        with pytest.raises(InputError, match="is not as `mrigen evaluate` writes it"):
            read_metrics(written(tmp_path, **top))
