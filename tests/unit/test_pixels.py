"""Pixel space, through every stage: the denoiser is trained on images, and its samples are images."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mrigen.config import load_config
from mrigen.errors import InputError
from mrigen.features.networks import find_networks
from mrigen.labels import Cell
from mrigen.model_folder.files import load_model
from mrigen.models.codec import PixelCodec
from mrigen.pipeline import Pipeline
from mrigen.records import read_table, tensor_numpy
from mrigen.run import deciding_settings
from mrigen.samples import SampleRequest
from mrigen.stages.phantom import phantom_run
from mrigen.storage import Location
from mrigen.training.__main__ import command
from tests.unit.model_folder.test_files import resealed

SETTINGS = ["codec=pixels", "data.image_size=32", "data.spacing_mm=6", "denoiser.training.num_steps=2"]
CONFIG = load_config("tiny", overrides=SETTINGS)
SIZE = CONFIG.data.image_size


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From a phantom to samples, as `python -m mrigen.training` does it."""
    folder = tmp_path_factory.mktemp("pixels")
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mrigen.stages.phantom.phantom_run", functools.partial(phantom_run, spacing_mm=8.0))
        patched.setattr("mrigen.stages.prepare.write_data_page", lambda *_: None)
        command.main([str(folder), "--phantom", "4", "--preset", "tiny", *settings], standalone_mode=False)
    return folder


def test_the_posteriors_are_the_images_with_the_least_spread(run):
    images = tensor_numpy(read_table(Location.parse(run / "data"))["image"])
    latents = read_table(Location.parse(run / "latents"))
    np.testing.assert_array_equal(tensor_numpy(latents["mean"])[:, 0], images)
    assert set(tensor_numpy(latents["logvar"]).ravel().tolist()) == {-11.0}


def test_there_is_no_autoencoder_and_who_asks_for_it_is_told_why(run):
    assert not (run / "vae").exists()
    assert not (run / "model" / "vae").exists()
    assert "no autoencoder" in (run / "model" / "README.md").read_text()
    networks = find_networks(Location.parse(run), CONFIG)
    assert networks.absent["autoencoder"] == "no autoencoder: the denoiser works on pixels"


def test_samples_are_images_in_the_scale_of_the_training_images(run):
    model = load_model(run / "model")
    assert isinstance(model.codec, PixelCodec)
    images = tensor_numpy(read_table(Location.parse(run / "data"))["image"])
    kept = np.asarray(read_table(Location.parse(run / "data"))["split"]) == "train"
    assert model.statistics.mean == pytest.approx([images[kept].mean()], abs=1e-4)
    assert model.statistics.std == pytest.approx([images[kept].std()], abs=1e-4)
    sample = Pipeline(model).sample([SampleRequest(Cell.parse("Healthy:T1w"), 1, CONFIG.sampler)])[0]
    assert sample.image.shape == (SIZE, SIZE)
    assert sample.volume().array.shape == (SIZE, SIZE, 1)
    assert len(list((run / "samples").rglob("*.nii.gz"))) == 20


def test_a_missing_scale_is_an_error(run, tmp_path):
    folder = shutil.copytree(run / "model", tmp_path / "model")
    resealed(folder, "statistics.json", lambda tree: tree.update(std=[]))
    with pytest.raises(InputError, match=r"statistics\.json: mean and std must hold one number a channel"):
        load_model(folder)


def test_the_codec_is_part_of_what_decides_a_stage():
    latent = load_config("tiny", overrides=SETTINGS[1:])
    assert deciding_settings(latent, "ldm") != deciding_settings(CONFIG, "ldm")
    assert deciding_settings(latent, "data") == deciding_settings(CONFIG, "data")
    assert CONFIG.latent_shape == (1, SIZE, SIZE)
    assert latent.latent_shape == (4, SIZE // 8, SIZE // 8)


def test_pixels_come_back_as_they_were():
    images = torch.rand(2, 1, 8, 8)
    posterior = PixelCodec().encode(images)
    assert torch.equal(PixelCodec().decode(posterior.mean), images)
    torch.testing.assert_close(posterior.sample(torch.randn(2, 1, 8, 8)), images, atol=1e-5, rtol=0)
