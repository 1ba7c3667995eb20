from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrigen.config import SamplerConfig
from mrigen.diffusion.sampling import num_evaluations
from mrigen.labels import Cell
from mrigen.model_folder.files import Model, load_model
from mrigen.pipeline import Pipeline
from mrigen.report.ablation.page import setting_name
from mrigen.samples import SampleRequest
from mrigen.studies.ablation.settings import COMPARED, Drop, Setting, plan_settings, untold
from tests.fake_run import tiny_config

SAMPLER = SamplerConfig(num_steps=2, compute_batch=2)


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Model:
    return load_model(tiny_run / "model")


def images(model: Model, drop: Drop, *cells: str) -> np.ndarray:
    requests = [SampleRequest(Cell.parse(cell), 5, SAMPLER, 3.0) for cell in cells]
    return np.stack([sample.image for sample in Pipeline(untold(model, drop)).sample(requests)])


def test_an_untold_condition_makes_no_difference_and_the_other_does(model: Model) -> None:
    cells = ("Healthy:T1w", "Dementia:T1w", "Healthy:PD")
    told = images(model, Drop.NOTHING, *cells)
    assert not np.array_equal(told[0], told[1])
    blind = images(model, Drop.PATHOLOGY, *cells)
    assert np.array_equal(blind[0], blind[1])
    assert not np.array_equal(blind[0], blind[2])
    blind = images(model, Drop.MODALITY, *cells)
    assert np.array_equal(blind[0], blind[2])
    assert not np.array_equal(blind[0], blind[1])


def test_what_is_dropped_stays_in_the_model(model: Model) -> None:
    before = images(model, Drop.NOTHING, "Healthy:T1w")
    images(model, Drop.PATHOLOGY, "Healthy:T1w")
    assert np.array_equal(images(model, Drop.NOTHING, "Healthy:T1w"), before)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 6),
        ({"guidance_scale": 1.0}, 3),
        ({"guidance_scale": 0.0, "pathology_scale": 2.0, "modality_scale": 2.0}, 9),
        ({"guidance_interval": (0.0, 0.5)}, 4),
        ({"guidance_interval": (0.0, 0.1)}, 3),
    ],
)
def test_evaluations_are_counted_as_the_pipeline_makes_them(
    model: Model, settings: dict[str, Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = SamplerConfig.model_validate(SAMPLER.model_dump() | {"num_steps": 3} | settings)
    looks = []
    network = model.denoiser.forward
    monkeypatch.setattr(model.denoiser, "forward", lambda x, *told: looks.append(len(x)) or network(x, *told))
    Pipeline(model).sample([SampleRequest(Cell.parse("Healthy:T1w"), 5, sampler, 3.0)])
    assert sum(looks) / SAMPLER.compute_batch == expected
    assert num_evaluations(sampler, model.schedule.num_timesteps) == expected


def test_without_guidance_no_scale_is_left() -> None:
    settings = plan_settings(tiny_config("sampler.guidance_scale=1", "sampler.pathology_scale=2"))
    own, bare = settings[0], [one for one in settings if not one.sampler.guidance_terms]
    assert [(one.num_evaluations, setting_name(one, own)) for one in bare] == [(3, "Without guidance")]
    assert own.num_evaluations == 9
    assert bare[0].as_json()["pathology_scale"] == 0.0


def test_the_plan_starts_with_the_models_own_setting_and_names_each_once() -> None:
    config = tiny_config("studies.guidance_scales=[2.0, 4.0]", "studies.step_counts=[1, 3]", "sampler.num_steps=3")
    settings = plan_settings(config)
    assert settings[0] == Setting(config.sampler)
    assert len(set(settings)) == len(settings)
    assert [setting.drop for setting in settings[:3]] == [Drop.NOTHING, Drop.PATHOLOGY, Drop.MODALITY]
    assert {s.sampler.guidance_scale for s in settings} == {1.0, 2.0, 4.0}
    assert {(s.sampler.solver, s.sampler.num_steps) for s in settings} == {
        (solver, count) for solver in COMPARED for count in (1, 3)
    }
