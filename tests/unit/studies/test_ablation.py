from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from matplotlib.figure import Figure as Plot
from torch import Tensor

from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, ImageRow
from mrigen.labels import Cell
from mrigen.metrics import kernel
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import NO_KID, polynomial_kernel
from mrigen.model_folder.files import Model, load_model
from mrigen.report.ablation.page import ablation_page
from mrigen.report.ablation.words import ablation_verdict
from mrigen.report.plots import blank
from mrigen.studies.ablation.looking import SHARD_SCHEMA
from mrigen.studies.ablation.settings import Drop, Setting
from mrigen.studies.ablation.shards import AblationPlan, plan_ablation
from mrigen.studies.ablation.summary import Ablation, summarise
from tests.fake_classes import counts, said
from tests.fake_run import SIZE, tiny_config

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Sclerosis:T1w", "Sclerosis:FLAIR", "Sclerosis:PD")]
CONFIG = tiny_config("studies.samples_per_cell=12")


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Model:
    return load_model(tiny_run / "model")


def real(num: int = 12, shape: tuple[int, ...] = (SIZE, SIZE)) -> ImageIndex:
    rows = [
        ImageRow(group, 0, 0, f"{group}{cell}{k}", f"{group}{cell.pathology}{k}", cell, 0.0, f"{group}{cell}{k}")
        for group in (Group.REFERENCE, Group.HELD_OUT)
        for cell in CELLS
        for k in range(num)
    ]
    return ImageIndex(rows=tuple(rows), shape=shape)


def seen(cells: list[Cell], shown: list[Cell]) -> pa.Table:
    """What a worker leaves of images that look like `shown`."""
    answers, generator = said(cells, shown), np.random.default_rng(len(shown))
    rows = []
    for place, cell in enumerate(cells):
        look = shown[place]
        features = generator.normal(0, 0.2, 9)
        features[look.pathology.row] += 2
        features[4 + look.modality.row] += 2
        rows.append(
            {
                "id": f"{cell}-{place}",
                "cell": str(cell),
                "owner": f"{cell}-{place}",
                "features": [features.astype(np.float32).tobytes()] * 2,
                "pathology": answers.pathology[place].tobytes(),
                "modality": answers.modality[place].tobytes(),
                "image": np.zeros((SIZE, SIZE), np.float16).tobytes() if cell not in cells[:place] else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)


def all_seen(plan: AblationPlan) -> list[pa.Table]:
    """Of a model that shows what it is told: without a condition, the first class of it."""
    tables = []
    for shard in plan.shards:
        cells = [row.cell for row in shard.rows] or [cell for cell, _ in shard.samples]
        drop = shard.setting.drop if shard.setting else Drop.NOTHING
        shown = {
            Drop.NOTHING: cells,
            Drop.PATHOLOGY: [replace(cell, pathology=CELLS[0].pathology) for cell in cells],
            Drop.MODALITY: [replace(cell, modality=CELLS[0].modality) for cell in cells],
        }[drop]
        tables.append(seen(cells, shown))
    return tables


def study(model: Model) -> Ablation:
    plan = plan_ablation(real(), model, CONFIG, "classifier")
    return summarise(plan, all_seen(plan), counts(), CONFIG)


def test_what_the_model_is_not_told_is_missed_and_nothing_else(model: Model) -> None:
    found = study(model)
    own = found.rows[found.own]
    assert own["pathology"].value == own["modality"].value == 1.0
    assert own["mri/kid"].value == pytest.approx(0.0, abs=0.1)
    for drop, missed, kept in ((Drop.PATHOLOGY, "pathology", "modality"), (Drop.MODALITY, "modality", "pathology")):
        figures = found.rows[Setting(CONFIG.sampler, drop)]
        assert figures[missed].value == 0.5
        assert figures[kept].value == 1.0
        kid, low = own["efficientnet-lite0/kid"].high, figures["efficientnet-lite0/kid"].low
        assert kid is not None
        assert low is not None
        assert low > kid
    assert found.floor["pathology"].value == 1.0
    told = ablation_verdict(found)
    assert told[0].startswith("Without the pathology, KID by efficientnet-lite0 goes from ")
    assert told[0].endswith("accuracy of the pathology goes from 1.000 to 0.500.")
    assert "(their intervals overlap)" in told[2]  # this model needs no guidance


def test_held_out_images_of_one_subject_are_told_before_and_after(model: Model) -> None:
    lone = ImageIndex(rows=tuple(replace(row, owner=f"{row.group}{row.cell.pathology}") for row in real().rows))
    plan = plan_ablation(lone, model, CONFIG, "classifier")
    assert plan.lone_cells == list(plan.cells)
    assert plan_ablation(real(), model, CONFIG, "classifier").lone_cells == []
    figures = {name: Figure.missing(NO_KID) for name in ("efficientnet-lite0/kid", "mri/kid")}
    found = study(model)
    without = replace(found, rows={setting: {**row, **figures} for setting, row in found.rows.items()})
    assert ablation_verdict(without)[0] == f"There is no KID: {NO_KID}."
    assert not any("There is no KID" in sentence for sentence in ablation_verdict(found))


def test_a_panel_without_figures_holds_the_reason() -> None:
    figures = Plot(), Plot()
    axes = [plot.subplots() for plot in figures]
    blank(axes[0], [Figure.missing("one subject only"), Figure.missing("")])
    blank(axes[1], [Figure.missing("one subject only"), Figure.of(1.0, 3)])
    assert [text.get_text() for text in axes[0].texts] == ["one subject only"]
    assert len(axes[0].get_yticks()) == 0
    assert not axes[1].texts


def test_figures_are_computed_on_one_thread(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a sum, and so its last bits, depends on the number of threads."""
    seen = []

    def watched(*args: Tensor) -> Tensor:
        seen.append(torch.get_num_threads())
        return polynomial_kernel(*args)

    monkeypatch.setattr(kernel, "polynomial_kernel", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        study(model)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_best_to_ask_of_accuracy_is_that_on_held_out_images(model: Model) -> None:
    plan = plan_ablation(real(), model, CONFIG, "classifier")
    hard = [Cell.parse("Dementia:PD")] * 36
    tables = [
        seen([row.cell for row in shard.rows], hard[: len(shard.rows)]) if shard.group == Group.HELD_OUT else table
        for shard, table in zip(plan.shards, all_seen(plan), strict=True)
    ]
    tables[0] = seen([row.cell for row in plan.shards[0].rows], [CELLS[0], *hard[1:]])
    assert summarise(plan, tables, counts(), CONFIG).floor["pathology"].value == pytest.approx(1 / 24)


def test_cells_are_those_of_the_model_with_held_out_images(model: Model) -> None:
    plan = plan_ablation(real(), model, CONFIG, "classifier")
    assert list(plan.cells) == CELLS[:3]  # (Sclerosis, PD) was held out of training
    generated = [shard for shard in plan.shards if shard.setting == plan.settings[0]]
    assert [sample for shard in generated for sample in shard.samples] == [(c, k) for c in CELLS[:3] for k in range(12)]
    assert {row.cell for shard in plan.shards for row in shard.rows} == set(CELLS[:3])


def test_keys_name_all_that_a_file_depends_on(model: Model) -> None:
    def keys(plan: AblationPlan, *, generated: bool) -> set[str]:
        return {shard.key for shard in plan.shards if (shard.setting is not None) == generated}

    plan = plan_ablation(real(), model, CONFIG, "classifier")
    assert len({shard.key for shard in plan.shards}) == len(plan.shards)
    changed = tiny_config("studies.samples_per_cell=12", "seed=1")
    for other in (
        plan_ablation(real(), replace(model, sha256="x"), CONFIG, "classifier"),
        plan_ablation(real(), model, changed, "classifier"),
    ):
        assert keys(other, generated=False) == keys(plan, generated=False)
        assert not keys(other, generated=True) & keys(plan, generated=True)
    other = plan_ablation(real(), model, CONFIG, "another classifier")
    assert not {shard.key for shard in other.shards} & {shard.key for shard in plan.shards}


def test_data_of_another_size_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match="the model makes images of 32 x 32 pixels and the real ones have shape"):
        plan_ablation(real(shape=(64, 64)), model, CONFIG, "classifier")


def test_the_page_and_the_json_hold_every_setting_and_every_reason(model: Model) -> None:
    plan = plan_ablation(real(), model, CONFIG, "classifier")
    found = summarise(plan, all_seen(plan), {CELLS[0]: 5}, CONFIG)
    tree = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert len(tree["settings"]) == len(plan.settings)
    reason = "the real training images are all of one pathology"
    assert tree["settings"][0]["figures"]["pathology"]["reason"] == reason
    page = ablation_page("Ablation", found, ["mind this"], {"Command": "mrigen ablate run"}, plane="coronal")
    for text in (
        reason,
        "mind this",
        "Coronal slices",
        "Without pathology",
        "Without guidance",
        "Guidance scale 3",
        "ddim, 1 steps",
    ):
        assert text in page, text
    assert page.count("data:image/png;base64,") == 2 + 3 * len(plan.settings)
