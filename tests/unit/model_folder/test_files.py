"""The model folder: it loads in diffusers too, says what it must, and refuses what was tampered with."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from mrigen.errors import InputError
from mrigen.labels import Cell, Modality
from mrigen.model_folder.card import trained_on, under_licences
from mrigen.model_folder.facts import verify_folder
from mrigen.model_folder.files import (
    Model,
    TrainingFacts,
    load_autoencoder,
    load_model,
    save_model,
)
from mrigen.storage import Location


@pytest.fixture
def folder(tiny_run, tmp_path) -> Path:
    """A copy of a model folder, to be damaged."""
    return shutil.copytree(tiny_run / "model", tmp_path / "model")


def test_each_part_loads_in_diffusers(tiny_run):
    model = load_model(tiny_run / "model")
    vae = AutoencoderKL.from_pretrained(tiny_run / "model" / "vae")
    unet = UNet2DConditionModel.from_pretrained(tiny_run / "model" / "unet")
    scheduler = DDIMScheduler.from_pretrained(tiny_run / "model" / "scheduler")
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(vae.encode(images).latent_dist.mean, model.codec.encode(images).mean)
    assert unet.config.cross_attention_dim == model.config.denoiser.condition_channels
    torch.testing.assert_close(scheduler.alphas_cumprod, model.schedule.alpha.square().float(), rtol=1e-4, atol=1e-6)


def test_a_network_of_another_kind_than_the_settings_say_is_refused(folder):
    resealed(folder, "mrigen_config.json", lambda tree: tree["denoiser"].update(network="conv"))
    with pytest.raises(InputError) as error:
        load_model(folder)
    assert str(error.value) == (
        f"{folder / 'unet' / 'config.json'}: _class_name is 'UNet2DConditionModel', and ConvUNet is meant"
    )


def test_labels_tell_the_training_images_of_every_cell(tiny_run):
    counts = load_model(tiny_run / "model").training_counts
    assert len(counts) == 20
    assert counts[Cell.parse("Sclerosis:PD")] == 0
    assert counts[Cell.parse("Healthy:T1w")] == 6  # two training subjects of three slices
    assert "| Sclerosis | 6 | 6 | 6 | 6 | 0 |" in (tiny_run / "model" / "README.md").read_text()


def test_labels_and_card_tell_what_the_model_was_trained_on(tiny_run, folder):
    assert load_model(tiny_run / "model").training_sources == ("made up",)
    assert "It was trained on images from made up." in (tiny_run / "model" / "README.md").read_text()
    assert "\nLicences of the training images: CC0 1.0.\n" in (tiny_run / "model" / "README.md").read_text()
    assert trained_on(["IXI", "mrigen phantom"]).startswith("trained on images from IXI, mrigen phantom; in part on a")
    assert "cohort" not in trained_on(["Traveling Human Phantom"])  # people, scanned in many places
    assert load_model(tiny_run / "model").image_limits.keys() == set(Modality)
    resealed(folder, "labels.json", lambda labels: (labels.pop("training_sources"), labels.pop("image_limits")))
    resealed(folder, "labels.json", lambda labels: labels.pop("training_licences"))
    assert load_model(folder).image_limits == {}
    assert under_licences(load_model(folder).training_licences).startswith("The model folder does not tell under which")
    assert trained_on(load_model(folder).training_sources) == "trained on data that its folder does not name"


def test_weights_survive_the_folder_to_half_precision(tiny_run):
    trained = load_autoencoder(tiny_run / "vae").state_dict()
    exported = load_model(tiny_run / "model").codec.state_dict()
    for name, tensor in trained.items():
        torch.testing.assert_close(exported[name], tensor.half().float(), rtol=0, atol=0)


def test_no_path_of_the_machine_is_in_the_folder(tiny_run):
    for path in (tiny_run / "model").rglob("*"):
        if path.is_file():
            assert str(tiny_run).encode() not in path.read_bytes(), path


def test_a_flipped_bit_is_found(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match=r"diffusion_pytorch_model.safetensors differs from SHA256SUMS"):
        verify_folder(folder)


def test_a_missing_file_and_a_missing_manifest_are_told(folder):
    (folder / "labels.json").unlink()
    with pytest.raises(InputError, match=r"labels\.json is missing, though SHA256SUMS lists it"):
        load_model(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="is no model folder, or one not finished"):
        load_model(folder)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "conditioning/model", "vae/diffusion_pytorch_model"])
def test_weights_that_are_not_finite_are_refused(folder, part):
    file = folder / f"{part}.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, file)
    reseal(folder)
    with pytest.raises(InputError, match=r"\w+\.\S+ is not finite: the training broke down, train anew"):
        load_model(folder)


def saved_anew(model: Model, folder: Path) -> None:
    seen = TrainingFacts(model.training_counts, np.zeros(2, np.float32), ["somebody"], ["made up"], [], {})
    save_model(Location.parse(folder), model.codec, model.denoiser, model.config, model.statistics, seen)


def test_a_new_model_leaves_nothing_of_what_was_in_its_place(folder):
    model = load_model(folder)
    for stray in ("statistics.json", "vae/.config.json.0123.tmp"):  # of another codec, and of who was killed
        (folder / stray).touch()
    saved_anew(model, folder)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    listed = {line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert there == {*listed, "SHA256SUMS"}
    assert load_model(folder).sha256 != model.sha256


def test_weights_that_are_not_finite_take_no_model_s_place(folder):
    model = load_model(folder)
    model.denoiser.unet.conv_in.weight[0] = float("nan")
    with pytest.raises(InputError, match=r"conv_in\.weight is not finite: the training broke down, train anew"):
        saved_anew(model, folder)
    assert verify_folder(folder) == model.sha256


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd"])
def test_a_manifest_cannot_point_outside(folder, name):
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(InputError, match="is not `HASH  FILE` within the folder"):
        verify_folder(folder)


def resealed(folder: Path, name: str, change) -> None:
    """Change a JSON file of the folder and make its manifest fit."""
    tree = json.loads((folder / name).read_text())
    change(tree)
    (folder / name).write_text(json.dumps(tree))
    reseal(folder)


def reseal(folder: Path) -> None:
    """Make the manifest fit the files."""
    lines = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = [f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for _, file in lines]
    (folder / "SHA256SUMS").write_text("".join(sums))


def test_a_missing_latent_scale_is_an_error_and_never_one(folder):
    resealed(folder, "vae/config.json", lambda tree: tree.update(latents_std=None))
    with pytest.raises(InputError, match="latents_mean and latents_std must hold one number a channel"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("labels.json", "training_counts"),
        ("labels.json", "slice_mm_quantiles"),
        ("conditioning/config.json", "channels"),
    ],
)
def test_a_fact_that_is_not_told_is_named_with_its_file(folder, name, field):
    resealed(folder, name, lambda tree: tree.pop(field))
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert str(caught.value) == f"{folder / name} has no {field}: copy the model folder anew"


def test_only_what_is_known_to_have_no_skull_is_said_to_have_none(folder):
    model = load_model(folder)
    stripped = model.config.model_copy(update={"data": model.config.data.model_copy(update={"head": "strip"})})
    assert not model.of_stripped_heads
    assert replace(model, config=stripped).of_stripped_heads
    assert replace(model, training_sources=("mrigen phantom",)).of_stripped_heads
    assert not replace(model, training_sources=("a phantom", "IXI")).of_stripped_heads


def test_another_objective_is_refused(folder):
    resealed(folder, "scheduler/scheduler_config.json", lambda tree: tree.update(prediction_type="epsilon"))
    with pytest.raises(InputError, match="prediction_type is 'epsilon'"):
        load_model(folder)


def test_settings_that_do_not_fit_the_weights_are_refused(folder):
    resealed(folder, "conditioning/config.json", lambda tree: tree.update(channels=16))
    with pytest.raises(InputError, match=r"conditioning: .*size mismatch"):
        load_model(folder)
