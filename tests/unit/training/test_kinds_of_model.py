"""Every kind of network and of objective, from images to samples by a model folder read back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrigen.diffusion.solvers import SOLVERS
from mrigen.each import one_by_one
from mrigen.labels import Cell, all_cells
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder
from tests.fake_run import SIZE, tiny_config, write_data

CONV = ["autoencoder.network=conv", "autoencoder.block_channels=[8, 16, 16]", "denoiser.network=conv"]
FLOW = ["diffusion.prediction=flow", "diffusion.schedule=linear", "diffusion.timesteps=logit_normal"]
FEW_STEPS = [f"{part}.training.num_steps=2" for part in ("autoencoder", "denoiser")]
EPSILON = ["diffusion.prediction=epsilon", "diffusion.schedule=scaled_linear"]


@pytest.mark.parametrize("settings", [[*CONV, *FLOW], EPSILON], ids=["conv-flow", "norms-epsilon"])
def test_it_trains_is_read_back_and_samples_by_every_solver(tmp_path, settings):
    config, run = tiny_config(*settings, *FEW_STEPS), Location.parse(tmp_path)
    write_data(tmp_path, all_cells()[:4], {"train": 2, "val": 1})
    accelerator = make_accelerator(config)
    losses: list[float] = []
    train_autoencoder(config, run, accelerator, lambda step, values: None)
    encode_run(run, config, one_by_one)
    train_denoiser(config, run, accelerator, lambda step, values: losses.extend(values.values()))
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    pipeline = Pipeline.load(tmp_path / "model")
    assert pipeline.config.diffusion == config.diffusion
    for solver in SOLVERS:
        sampler = config.sampler.model_copy(update={"solver": solver})
        [sample] = pipeline.sample([SampleRequest(Cell.parse("Healthy:T1w"), 1, sampler)])
        assert sample.image.shape == (SIZE, SIZE)
        assert np.isfinite(sample.image).all()
