from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from mrigen.config import Config
from mrigen.metrics.figure import Figure
from mrigen.report.text import comparison_facts, figures_text, metrics_json, notices
from mrigen.report.verdict import verdict
from tests.unit.report.report_fakes import LEAD, some_evaluation, without_intervals

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "metrics-schema.json").read_text())


def test_the_terminal_table_lists_every_row_and_marks_the_untrained() -> None:
    lines = figures_text(some_evaluation()).splitlines()
    table = lines[: lines.index("* never seen in training")]
    assert len(table) == 1 + 20 + 4 + 5 + 2
    assert len({len(line) for line in table}) == 1
    assert [line.split()[0] for line in table if "*" in line] == ["Sclerosis:PD"]
    assert next(line for line in table if line.startswith("Dementia:PD")).split()[-10:] == ["-"] * 10
    assert "generated images can be told from real ones" in lines[len(table) + 2]


def test_metrics_json_follows_its_schema() -> None:
    real, generated = {"source": ["x"]}, {"model_sha256": ["ab"]}
    tree = json.loads(json.dumps(metrics_json(some_evaluation(), Config(), ["note"], real, generated), allow_nan=False))
    jsonschema.validate(tree, SCHEMA)
    assert len(tree["rows"]) == 2 + 5 + 4 + 20
    cell = next(row for row in tree["rows"] if row["name"] == "Healthy:T1w")
    assert cell["figures"][f"{LEAD}/kid"] == {
        "value": 0.5, "n": 17, "low": 0.4, "high": 0.6, "p_value": 0.0005, "reason": None,
    }  # fmt: skip
    assert sum(tree["settings"]["ms_ssim_betas"]) == pytest.approx(1.0)
    assert (tree["real"], tree["generated"], tree["notices"]) == (real, generated, ["note"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rows", 0, "figures", f"{LEAD}/kid", "value"), None),
        (("rows", 0, "figures", f"{LEAD}/kid", "low"), None),
        (("rows", 0, "kind"), "shape"),
        (("split",), "train"),
        (("surprise",), 1),
    ],
)
def test_the_schema_refuses_what_is_not_so(path: tuple[str | int, ...], value: object) -> None:
    tree = json.loads(json.dumps(metrics_json(some_evaluation(), Config(), [], {}, {})))
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, SCHEMA)


def test_the_verdict_says_what_the_figures_come_to() -> None:
    sentences = verdict(some_evaluation())
    assert sentences[0] == (
        "Over all trained cells generated images can be told from real ones (permutation test, p < 0.001): KID is "
        "0.500 (0.400 to 0.600); real images of other subjects reach 0.010 (-0.100 to 0.100), and the intervals do "
        "not overlap."
    )
    assert sentences[1] == (
        "In 18 of 18 trained cells that could be tested, generated images can be told from real ones (p < 0.01); of "
        "real images of other subjects the same test says so in 0 of 18."
    )
    assert sentences[2].startswith("In 18 of the 19 trained cells KID lies clearly above its floor; farthest: ")
    assert "12% of the generated images look like some real one (precision; real images reach 11%)" in sentences[3]
    assert "more alike than real ones in 18 of 18 trained cells, and clearly less alike in 0" in sentences[4]
    assert any("1 of 1 cells never seen in training" in sentence for sentence in sentences)
    assert sentences[-1].startswith("The autoencoder restores held-out real images to 25.00 (24.00 to 26.00) dB")


def test_the_verdict_of_good_images_does_not_cry_wolf() -> None:
    good = {f"{LEAD}/kid": Figure.of(0.01, 17, (-0.1, 0.1)).tested(0.4)}
    good["diversity/ms_ssim_generated"] = Figure.of(0.4, 17, (0.35, 0.44))
    text = " ".join(verdict(some_evaluation(good)))
    assert "generated images cannot be told from real ones (permutation test, p = 0.400)" in text
    assert "In 0 of 19 trained cells" in text
    assert "the intervals overlap" in text
    assert "clearly above its floor" not in text
    assert "more alike than real ones in 0 of 18" in text


def test_a_verdict_on_a_handful_of_subjects_claims_nothing() -> None:
    text = " ".join(verdict(without_intervals(some_evaluation())))
    assert "No single one of the 19 trained cells has the 7 held-out subjects that the test needs." in text
    assert "overlap" not in text
    assert "can be told" not in text


def test_a_verdict_without_generated_images_gives_the_reason() -> None:
    nothing = {f"{LEAD}/kid": Figure.missing("generate first")}
    evaluation = some_evaluation(nothing)
    rows = [replace(row, images={**row.images, "generated": 0}) for row in evaluation.rows]
    assert verdict(replace(evaluation, rows=rows)) == ["Nothing can be said of generated images: generate first."]


def test_a_phantom_and_missing_samples_are_told() -> None:
    assert notices({"source": ["hospital"]}, complete=True) == []
    assert "phantom" in notices({"source": ["mrigen-phantom 0.1"]}, complete=True)[0]
    assert "not complete" in notices({}, complete=False)[0]
    facts = comparison_facts(Config(), {"source": ["a", "b"], "licence": [""]}, {"num_steps": [20]})
    assert facts["Real images from"] == "a, b"
    assert facts["Steps"] == "20"
    assert "Licence of the real images" not in facts
