"""Of the benchmark of spoiled models: what is spoiled, and what counts as a warning. To make them takes minutes."""

from __future__ import annotations

from docs.benchmarks.failure_signatures import MODELS, SETTINGS, SHOWN, warnings
from mrigen.config import load_config
from mrigen.metrics.figure import Figure
from mrigen.run import settings_of


def test_each_model_differs_from_the_sound_one_in_one_thing() -> None:
    sound = settings_of(load_config("quick", overrides=SETTINGS))
    changed = {}
    for name, model in MODELS.items():
        own = settings_of(load_config("quick", overrides=[*SETTINGS, *model.overrides]))
        changed[name] = {key: value for key, value in own.items() if value != sound[key]}
    assert changed == {
        "sound": {},
        "weak conditions": {f"denoiser.{kind}_dropout": 0.9 for kind in ("pathology", "modality", "joint")},
        "poor autoencoder": {"autoencoder.training.num_steps": 20},
        "ten subjects": {},
        "one subject": {},
    }


def test_a_figure_warns_where_it_is_worse_with_intervals_apart() -> None:
    sound = dict.fromkeys(SHOWN, Figure.of(0.5, 9, (0.4, 0.6)))
    low, high, near = Figure.of(0.2, 9, (0.1, 0.3)), Figure.of(0.8, 9, (0.7, 0.9)), Figure.of(0.8, 9, (0.55, 0.9))
    names = ("efficientnet-lite0/kid", "mri/recall", "diversity/ms_ssim_generated", "fidelity/modality")
    assert warnings(sound | dict.fromkeys(names, low), sound) == {"mri/recall", "fidelity/modality"}
    assert warnings(sound | dict.fromkeys(names, high), sound) == {names[0], names[2]}
    assert warnings(sound | dict.fromkeys(names, near), sound) == set()
    assert warnings(sound | dict.fromkeys(names, Figure.missing("none")), sound) == set()
