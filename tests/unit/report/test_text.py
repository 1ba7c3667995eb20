from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.config import Config
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.metrics_json import metrics_json
from mrigen.report.evaluation.terminal import evaluation_lines
from mrigen.report.evaluation.verdict import verdict
from mrigen.report.provenance import comparison_facts
from tests.unit.report.report_fakes import LEAD, MRI, some_evaluation, some_extrapolation, without_intervals

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "metrics-schema.json").read_text())


def test_the_terminal_table_lists_every_row_and_marks_the_untrained() -> None:
    lines = evaluation_lines(some_evaluation()).splitlines()
    table = lines[: lines.index("* never seen in training")]
    assert len(table) == 1 + 20 + 4 + 5 + 2
    assert len({len(line) for line in table}) == 1
    assert [line.split()[0] for line in table if "*" in line] == ["Sclerosis:PD"]
    assert next(line for line in table if line.startswith("Dementia:PD")).split()[-13:] == ["-"] * 13
    assert "generated images can be told from real ones" in lines[len(table) + 2]


def test_the_terminal_shows_how_unseen_cells_were_answered() -> None:
    lines = evaluation_lines(replace(some_evaluation(), extrapolation=some_extrapolation())).splitlines()
    start = lines.index("* never seen in training") + 2
    assert lines[start].startswith(f"KID by {LEAD}")
    assert [re.split(r" {2,}", line) for line in lines[start + 1 : start + 5]] == [
        ["never seen", "generated", "floor", "healthy", "other modality", "generated are"],
        ["Sclerosis:PD", "0.100", "0.020", "0.900", "1.400", "clearly nearer than both lazy answers"],
        ["Dementia:T1ce", "0.500", "0.010", "0.300", "1.100", "nearer than one lazy answer of two"],
        ["Glioblastoma:PD", "-", "-", "-", "-", "-"],
    ]
    assert lines[start + 5] == ""


def full_tree() -> dict[str, Any]:
    """A metrics.json with all there can be."""
    evaluation = replace(some_evaluation(), extrapolation=some_extrapolation())
    return json.loads(json.dumps(metrics_json(evaluation, Config(), [], {}, {}), allow_nan=False))


def test_metrics_json_follows_its_schema() -> None:
    real, generated = {"source": ["x"]}, {"model_sha256": ["ab"], "guidance_interval": [[0.0, 1.0]]}
    tree = json.loads(json.dumps(metrics_json(some_evaluation(), Config(), ["note"], real, generated), allow_nan=False))
    jsonschema.validate(tree, SCHEMA)
    assert tree["extrapolation"] is None
    assert len(tree["rows"]) == 2 + 5 + 4 + 20
    cell = next(row for row in tree["rows"] if row["name"] == "Healthy:T1w")
    assert cell["figures"][f"{LEAD}/kid"] == {
        "value": 0.5, "n": 17, "low": 0.4, "high": 0.6, "p_value": 0.0005, "reason": None,
    }  # fmt: skip
    assert sum(tree["settings"]["ms_ssim_betas"]) == pytest.approx(1.0)
    assert (tree["real"], tree["generated"], tree["notices"]) == (real, generated, ["note"])


def test_metrics_json_holds_the_classifier_the_confusion_and_the_extrapolation() -> None:
    tree = full_tree()
    jsonschema.validate(tree, SCHEMA)
    assert tree["judge"]["counts"]["Healthy:T1w"] == 40
    assert tree["confusion"]["pathology"]["classes"] == ["Healthy", "Glioblastoma", "Sclerosis", "Dementia"]
    assert tree["confusion"]["modality"]["generated"][0] == [30, 0, 0, 0, 10]
    assert tree["extrapolation"] == json.loads(json.dumps(some_extrapolation().as_json()))
    bare = metrics_json(replace(some_evaluation(), classifier=None, confusion={}), Config(), [], {}, {})
    jsonschema.validate(json.loads(json.dumps(bare)), SCHEMA)
    assert (bare["judge"], bare["confusion"]) == (None, {})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rows", 0, "figures", f"{LEAD}/kid", "value"), None),
        (("rows", 0, "figures", f"{LEAD}/kid", "low"), None),
        (("rows", 0, "kind"), "shape"),
        (("split",), "train"),
        (("surprise",), 1),
        (("schema_version",), 1),
        (("judge", "counts"), None),
        (("judge", "surprise"), 1),
        (("confusion", "age"), {}),
        (("confusion", "pathology", "real", 0, 0), 0.5),
        (("extrapolation", "cells", 0, "unseen"), "yes"),
        (("extrapolation", "cells", 0, "answers", "generated", f"{LEAD}/kid", "value"), None),
        (("extrapolation", "cells", 0, "answers", "surprise"), {}),
    ],
)
def test_the_schema_refuses_what_is_not_so(path: tuple[str | int, ...], value: object) -> None:
    tree = place = full_tree()
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
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
    assert sentences[1].startswith(
        "In 18 of 18 trained cells that could be tested, generated images can be told from real ones (p < 0.01); of "
        "real images of other subjects the same test says so in 0 of 18; farthest by KID: "
    )
    assert "more alike than real ones in 18 of 18 trained cells, and clearly less alike in 0" in sentences[2]
    assert sentences[3].startswith("Over all cells never seen in training generated images can be told from real ones")
    assert sentences[4].startswith("At worst, in Healthy:T1w 12% of the generated images look like some real one")
    assert len(sentences) == 5
    untested = verdict(some_evaluation({f"{LEAD}/kid_floor": Figure.of(0.01, 17)}))
    assert not any("the same test" in sentence for sentence in untested)


def test_pooled_cells_do_not_praise_blobs() -> None:
    """As seen of two modalities: each blob lies far from the images of its own, yet near some of the other."""
    evaluation = some_evaluation()
    rows = []
    for row in evaluation.rows:
        figures = dict(row.figures)
        for name in ("precision", "coverage"):
            pooled = row.scope.kind in (ScopeKind.OVERALL, ScopeKind.PATHOLOGY)
            apart = Figure.missing("few") if row.scope.kind == ScopeKind.CELL else Figure.of(0.0, 40)
            figures[f"{LEAD}/{name}"] = Figure.of(1.0, 80) if pooled else apart
            figures[f"{LEAD}/{name}_floor"] = Figure.of(0.95, 80)
        rows.append(replace(row, figures=figures))
    sentences = verdict(replace(evaluation, rows=rows))
    assert not any("100%" in sentence for sentence in sentences)
    assert sentences[1].startswith("Over all trained cells generated images can be told from real ones")
    assert sentences[0] == (
        "At worst, in T1w 0% of the generated images look like some real one (precision; real images reach 95%), and "
        "in T1w 0% of the real images have a generated one near (coverage; real images reach 95%)."
    )


def test_what_is_less_than_half_as_good_as_real_images_comes_first() -> None:
    first, second, *_ = verdict(some_evaluation({"fidelity/modality": Figure.of(0.2, 200, (0.15, 0.25))}))
    assert first.startswith("A classifier trained on real images names the modality of generated images")
    assert second.startswith("Over all trained cells generated images can be told from real ones")


def test_images_that_are_less_alike_than_real_ones_speak_against_them() -> None:
    kid = {f"{LEAD}/kid": Figure.of(0.01, 17, (-0.1, 0.1)).tested(0.4)}
    noise = Figure.of(0.1, 17, (0.05, 0.15))
    first, *_ = verdict(some_evaluation(kid | {"diversity/ms_ssim_generated": noise}))
    assert first.startswith("Generated images are clearly more alike than real ones in 0 of 18 trained cells, and")


def test_pooled_cells_may_blame() -> None:
    """As seen of noise where neither a cell nor a modality has images enough."""
    evaluation = some_evaluation()
    rows = []
    for row in evaluation.rows:
        figures = dict(row.figures)
        for name, values in (("precision", (0.0, 0.9)), ("coverage", (0.07, 0.9))):
            value = {ScopeKind.PATHOLOGY: values[0], ScopeKind.OVERALL: values[1]}.get(row.scope.kind)
            figures[f"{LEAD}/{name}"] = Figure.missing("few") if value is None else Figure.of(value, 40)
            figures[f"{LEAD}/{name}_floor"] = Figure.of(0.95, 80)
        rows.append(replace(row, figures=figures))
    assert verdict(replace(evaluation, rows=rows))[0] == (
        "At worst, in Healthy 0% of the generated images look like some real one (precision; real images reach 95%), "
        "and in Healthy 7% of the real images have a generated one near (coverage; real images reach 95%)."
    )


def test_the_verdict_tells_of_fidelity_and_of_extrapolation() -> None:
    changes = {
        "fidelity/pathology": Figure.of(0.6, 200, (0.55, 0.65)),
        "fidelity/modality": Figure.of(0.9, 200, (0.85, 0.95)),
    }
    changes |= {f"{LEAD}/kid": Figure.of(0.01, 17, (-0.1, 0.1)).tested(0.4)}
    changes |= {f"{LEAD}/{name}": Figure.missing("few") for name in ("precision", "coverage")}
    changes["diversity/ms_ssim_generated"] = Figure.missing("few")
    pathology, _, _, modality, unseen = verdict(replace(some_evaluation(changes), extrapolation=some_extrapolation()))
    assert pathology == (
        "A classifier trained on real images names the pathology of generated images of all trained cells with a "
        "balanced accuracy of 0.600 (0.550 to 0.650); on held-out real ones it reaches 0.750 (0.700 to 0.800), and the "
        "intervals do not overlap."
    )
    assert modality.endswith(
        "0.900 (0.850 to 0.950); on held-out real ones it reaches 0.750 (0.700 to 0.800), and the intervals do not "
        "overlap: these images are easier to tell apart than real ones, which is no praise."
    )
    assert unseen.startswith("In 1 of 2 unseen cells")


def test_the_verdict_says_once_why_fidelity_is_not_known() -> None:
    why = Figure.missing("no image of the training split")
    text = " ".join(verdict(some_evaluation({f"fidelity/{target}": why for target in TARGETS})))
    assert text.count("what was asked for is not known: no image of the training split.") == 1
    good = {f"{LEAD}/kid": Figure.of(0.01, 17, (-0.1, 0.1)).tested(0.4), "fidelity/modality": why}
    text = " ".join(verdict(some_evaluation(good)))
    assert "the modality that was asked for is not known: no image of the training split." in text
    assert "the pathology that was asked for is not known" not in text


def test_the_verdict_of_good_images_does_not_cry_wolf() -> None:
    good = {f"{LEAD}/kid": Figure.of(0.01, 17, (-0.1, 0.1)).tested(0.4)}
    good["diversity/ms_ssim_generated"] = Figure.of(0.4, 17, (0.35, 0.44))
    text = " ".join(verdict(some_evaluation(good)))
    assert "generated images cannot be told from real ones (permutation test, p = 0.400)" in text
    assert "In 0 of 19 trained cells" in text
    assert "the intervals overlap" in text
    assert "farthest" not in text
    assert "more alike" not in text


def test_a_verdict_on_a_handful_of_subjects_claims_nothing() -> None:
    text = " ".join(verdict(without_intervals(some_evaluation())))
    assert "Of trained cells (19), no single one has the 7 held-out subjects that the test needs." in text
    assert "overlap" not in text
    assert "can be told" not in text


def test_a_verdict_without_generated_images_gives_the_reason() -> None:
    nothing = {f"{LEAD}/kid": Figure.missing("generate first")}
    evaluation = some_evaluation(nothing)
    rows = [replace(row, images={**row.images, "generated": 0}) for row in evaluation.rows]
    assert verdict(replace(evaluation, rows=rows)) == ["Nothing can be said of generated images: generate first."]


def test_a_verdict_without_any_extractor_still_tells_fidelity() -> None:
    """As where the latents of an autoencoder that is not there were the only features asked for."""
    evaluation = some_evaluation()
    rows = []
    for row in evaluation.rows:
        figures = {name: figure for name, figure in row.figures.items() if not name.startswith((LEAD, MRI))}
        figures["autoencoder/kid"] = Figure.missing("no trained autoencoder")
        rows.append(replace(row, figures=figures))
    first, *others = verdict(replace(evaluation, extractors=(), rows=rows))
    assert first == "Over all trained cells there is no KID: no trained autoencoder."
    assert any(text.startswith("A classifier trained on real images names the pathology") for text in others)
    assert not any("could be tested" in text or "that the test needs" in text for text in others)


def test_the_foot_of_the_page_tells_what_was_compared() -> None:
    sampler = {"num_steps": [20], "guidance_interval": [(0.0, 0.5)]}
    facts = comparison_facts(Config(), {"source": ["a", "b"], "licence": [""]}, sampler)
    assert facts["Real images from"] == "a, b"
    assert (facts["Num steps"], facts["Guidance interval"]) == ("20", "0-0.5")
    assert "Licence of the real images" not in facts
