"""On a CUDA device the chain trains and samples, in float32 and in bfloat16, and the networks compile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from mrigen.each import OneByOne
from mrigen.labels import Cell, all_cells
from mrigen.models.conditioning import Conditions
from mrigen.models.denoiser import Denoiser
from mrigen.pipeline import Pipeline
from mrigen.samples import SampleRequest
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder
from tests.fake_run import tiny_config, write_data

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps to the first device and precision of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_chain_trains_and_samples(tmp_path: Path, precision: str) -> None:
    config = tiny_config(f"precision={precision}")
    write_data(tmp_path, all_cells()[:4], {"train": 2, "val": 1})
    run, accelerator = Location.parse(tmp_path), make_accelerator(config, DEVICE)
    seen: dict[str, float] = {}
    train_autoencoder(config, run, accelerator, lambda step, values: seen.update(values))
    encode_run(run, config, OneByOne(DEVICE))
    train_denoiser(config, run, accelerator, lambda step, values: seen.update(values))
    assert {"l1", "kl", "val_psnr", "loss", "grad_norm", "val_loss"} <= seen.keys()
    assert np.isfinite(list(seen.values())).all()
    requests = [SampleRequest(Cell.parse("Healthy:T1w"), seed, config.sampler, 0.0) for seed in range(3)]
    samples, on_cpu = (Pipeline.load(tmp_path / "model", device).sample(requests) for device in (DEVICE, "cpu"))
    for sample, expected in zip(samples, on_cpu, strict=True):
        np.testing.assert_allclose(sample.image, expected.image, atol=0.05)  # other kernels: not the same bits


def test_the_denoiser_compiles() -> None:
    torch.manual_seed(0)
    config = tiny_config()
    model = Denoiser.build(config).eval().requires_grad_(False).to(DEVICE)
    latents = torch.randn(4, *config.latent_shape, device=DEVICE)
    conditions = Conditions.of(all_cells()[:4], [0.0] * 4).to(DEVICE)
    timesteps = torch.tensor([0, 10, 500, 999], device=DEVICE)
    compiled = torch.compile(model)
    torch.testing.assert_close(
        compiled(latents, timesteps, conditions), model(latents, timesteps, conditions), rtol=1e-2, atol=1e-3
    )
