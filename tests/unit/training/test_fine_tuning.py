"""A training that begins with the weights of a model."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

from mrigen.config import load_config
from mrigen.each import one_by_one
from mrigen.errors import InputError, Stopped
from mrigen.labels import all_cells
from mrigen.model_folder.files import load_model, subject_digest
from mrigen.run import deciding_settings, finish
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.fine_tuning import begun_from, bring
from mrigen.training.journal import Stop, never
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder
from tests.fake_run import tiny_config, write_data

STILL = [
    f"{part}.training.{setting}"
    for part in ("autoencoder", "denoiser")
    for setting in ("learning_rate=1e-12", "num_steps=2")
]


def quiet(step, values):
    """A report that says nothing."""


def test_the_weights_begin_with_those_of_the_model_and_its_subjects_are_told(tiny_run, tmp_path):
    """Of steps of length nothing, the weights stay as they began."""
    model, run = str(tiny_run / "model"), Location.parse(tmp_path)
    write_data(tmp_path, all_cells()[:2], {"train": 1, "val": 1})
    config = begun_from(model, begun_from(model, tiny_config(*STILL), "vae"), "ldm")
    accelerator = make_accelerator(config)
    with pytest.raises(InputError, match=r"vae/start, the model .* begins with, is missing: give it by --from"):
        train_autoencoder(config, run, accelerator, quiet)
    for stage in ("vae", "ldm"):
        bring(model, run / stage)
    train_autoencoder(config, run, accelerator, quiet)
    encode_run(run, config, one_by_one)
    train_denoiser(config, run, accelerator, quiet)
    before, after = load_model(tiny_run / "model"), load_model(tmp_path / "model")
    for part in ("codec", "denoiser"):
        pairs = zip(getattr(before, part).parameters(), getattr(after, part).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), part
    began = f"from model {before.sha256[:12]} on"
    assert f"2 steps of 8 images {began} (autoencoder), 2 steps of 8 latents {began}" in (
        tmp_path / "model/README.md"
    ).read_text().replace("\n", " ")
    told = json.loads((tmp_path / "model/labels.json").read_text())["training_subjects"]
    assert {subject_digest("train000Healthy"), subject_digest("train001Dementia")} <= set(told)


DECODER = ["autoencoder.frozen_encoder=true", "autoencoder.perceptual_weight=1", "denoiser.training.num_steps=0"]


def test_of_a_decoder_trained_alone_the_encoder_the_latents_and_the_denoiser_stay(tiny_run, tmp_path):
    model, run = str(tiny_run / "model"), Location.parse(tmp_path)
    write_data(tmp_path, all_cells()[:2], {"train": 1, "val": 1})
    config = begun_from(model, begun_from(model, tiny_config(*DECODER), "vae"), "ldm")
    for stage in ("vae", "ldm"):
        bring(model, run / stage)
    train_autoencoder(config, run, make_accelerator(config), quiet)
    encode_run(run, config, one_by_one)
    train_denoiser(config, run, make_accelerator(config), quiet)
    before, after = load_model(tiny_run / "model"), load_model(tmp_path / "model")
    stayed = {
        f"{part}.{name}": torch.equal(weights, getattr(before, part).state_dict()[name])
        for part in ("codec", "denoiser")
        for name, weights in getattr(after, part).state_dict().items()
    }
    changed = {name for name, same in stayed.items() if not same}
    assert changed == {name for name in stayed if name.startswith(("codec.vae.decoder.", "codec.vae.post_quant_conv."))}
    assert after.codec.digest() == before.codec.digest()


ADAPTERS = ["denoiser.adapter_rank=2", "denoiser.training.learning_rate=0.03", "denoiser.training.warmup_steps=0"]


def adapted(model: str, folder: Path, stop: Stop = never) -> None:
    """Train adapters of the model's denoiser, on what `folder` has."""
    run = Location.parse(folder)
    config = begun_from(model, tiny_config(*ADAPTERS), "ldm")
    bring(model, run / "ldm")
    train_denoiser(config, run, make_accelerator(config), quiet, stop)


@pytest.fixture
def encoded(tiny_run, tmp_path) -> Path:
    """A run of other subjects with the autoencoder of `tiny_run`, up to its latents."""
    write_data(tmp_path / "run", all_cells()[:2], {"train": 3, "val": 1})
    (tmp_path / "run/vae").mkdir()
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(tiny_run / "vae" / name, tmp_path / "run/vae")
    run, config = Location.parse(tmp_path / "run"), tiny_config()
    finish(run, config, "vae")
    encode_run(run, config, one_by_one)
    return tmp_path / "run"


def test_adapters_end_as_an_ordinary_model_that_differs_by_their_rank_and_in_its_tokens(tiny_run, encoded, caplog):
    caplog.set_level("INFO", logger="mrigen")
    adapted(str(tiny_run / "model"), encoded)
    before, after = (load_model(folder / "model").denoiser for folder in (tiny_run, encoded))
    moved = 0
    for name, weight in after.unet.state_dict().items():
        change = weight - before.unet.state_dict()[name]
        if name.endswith("weight") and weight.dim() > 1:
            spectrum = torch.linalg.svdvals(change.flatten(1).double())
            assert spectrum[1] > 0, name
            assert float(spectrum[2:].max()) < 0.05 * float(spectrum[0]), name  # what rounding to halves leaves
            moved += 1
        else:
            assert not change.any(), name
    assert moved > 30
    tokens = before.conditioner.state_dict(), after.conditioner.state_dict()
    assert not torch.equal(*(state["pathology.weight"] for state in tokens))
    learned = sum(p.numel() for p in after.conditioner.parameters()) + sum(
        2 * (len(weight) + weight[0].numel()) for weight in after.unet.state_dict().values() if weight.dim() > 1
    )
    assert f" parameters, {learned:,} of them trained: " in caplog.text
    assert "on, by adapters of rank 2\n" in (encoded / "model/README.md").read_text()


def test_adapters_that_were_stopped_end_with_the_bytes_of_undisturbed_ones(tiny_run, encoded, tmp_path):
    shutil.copytree(encoded, tmp_path / "stopped")
    adapted(str(tiny_run / "model"), encoded)
    asked = itertools.count(1)
    with pytest.raises(Stopped):
        adapted(str(tiny_run / "model"), tmp_path / "stopped", lambda: next(asked) == 5)
    adapted(str(tiny_run / "model"), tmp_path / "stopped")
    undisturbed, stopped = ((folder / "model/SHA256SUMS").read_text() for folder in (encoded, tmp_path / "stopped"))
    assert stopped == undisturbed


def test_adapters_need_a_model(encoded):
    config = tiny_config(*ADAPTERS)
    with pytest.raises(InputError) as error:
        train_denoiser(config, Location.parse(encoded), make_accelerator(config), quiet)
    assert str(error.value) == "denoiser.adapter_rank trains adapters of a model, which is given by --from"


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("frozen_encoder=true", "autoencoder.frozen_encoder trains the decoder of a model, which is given by --from"),
        (
            "training.num_steps=0",
            "training.num_steps is 0: that keeps the weights of a model, which is given by --from",
        ),
    ],
)
def test_what_needs_a_model_is_told_without_one(tmp_path, setting, error):
    write_data(tmp_path, all_cells()[:2], {"train": 1})
    config = tiny_config(f"autoencoder.{setting}")
    with pytest.raises(InputError) as raised:
        train_autoencoder(config, Location.parse(tmp_path), make_accelerator(config), quiet)
    assert str(raised.value) == error


def test_another_model_in_its_place_is_refused(tiny_run, tmp_path):
    config = begun_from("embedded", load_config("slice128"), "vae")
    shutil.copytree(tiny_run / "model", tmp_path / "vae/start")
    write_data(tmp_path, all_cells()[:2], {"train": 1})
    mark = {**json.loads((tmp_path / "data/_SUCCESS.json").read_text()), "settings": deciding_settings(config, "data")}
    (tmp_path / "data/_SUCCESS.json").write_text(json.dumps(mark))
    with pytest.raises(InputError, match=r"vae/start is not the model that this training begins with: delete it, and"):
        train_autoencoder(config, Location.parse(tmp_path), make_accelerator(config), quiet)


def test_weights_that_do_not_fit_are_told_with_the_settings_that_make_them_fit(tiny_run):
    model = str(tiny_run / "model")
    with pytest.raises(InputError) as error:
        begun_from(model, load_config("quick", overrides=["denoiser.attention_levels=[true,true,true]"]), "ldm")
    assert str(error.value) == (
        f"--from: the weights of {model} do not fit (denoiser.network is unet there, conv here; "
        "denoiser.block_channels is [32, 32] there, [64, 96, 128] here; "
        "denoiser.attention_levels is [True, True] there, [True, True, True] here; denoiser.condition_channels is 32 "
        "there, 128 here): prepare a run with --set denoiser.network=unet --set 'denoiser.block_channels=[32, 32]' "
        "--set 'denoiser.attention_levels=[true, true]' --set denoiser.condition_channels=32"
    )
    made_fit = ["denoiser.network=unet", "denoiser.block_channels=[32, 32]", "denoiser.attention_levels=[true, true]"]
    begun_from(model, load_config("quick", overrides=[*made_fit, "denoiser.condition_channels=32"]), "ldm")


def test_no_model_is_told(tmp_path):
    with pytest.raises(InputError, match=f"^--from: there is no model folder {tmp_path / 'none'}$"):
        begun_from(str(tmp_path / "none"), tiny_config(), "vae")


def test_runs_of_before_are_not_taken_for_others():
    assert not [name for name in deciding_settings(tiny_config(), "ldm") if "started_from" in name]
