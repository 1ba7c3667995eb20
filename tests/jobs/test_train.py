"""Training on Ray Train: two workers see the batches of one; errors come out as one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from mrigen.labels import all_cells
from tests.command import mrigen
from tests.fake_run import SIZE, write_data

pytestmark = pytest.mark.ray
TINY = ["--preset", "tiny", "--set", f"data.image_size={SIZE}"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_data(tmp_path / "run", all_cells()[:4], {"train": 2, "val": 1})
    return tmp_path / "run"


@pytest.mark.slow
def test_the_chain_on_two_workers_agrees_with_one_process(ray_cluster, run, tmp_path):
    from mrigen.config import load_config
    from mrigen.storage import Location
    from mrigen.training.accelerator import make_accelerator
    from mrigen.training.vae import train_autoencoder

    assert mrigen("train-vae", run, "--num-workers", 2, *TINY) == 0
    assert mrigen("encode", run, "--num-workers", 2) == 0
    assert mrigen("train-ldm", run, "--num-workers", 2) == 0
    assert (run / "model" / "SHA256SUMS").is_file()
    assert list((run / "vae" / "tensorboard").glob("events*"))
    assert (run / "ldm" / "previews" / "step-00000008.png").read_bytes().startswith(b"\x89PNG")
    assert not (run / ".ray_train").exists()

    write_data(tmp_path / "alone", all_cells()[:4], {"train": 2, "val": 1})
    config = load_config("tiny", overrides=[f"data.image_size={SIZE}"])
    train_autoencoder(config, Location.parse(tmp_path / "alone"), make_accelerator(config), lambda step, values: None)
    two = load_file(run / "vae" / "diffusion_pytorch_model.safetensors")
    one = load_file(tmp_path / "alone" / "vae" / "diffusion_pytorch_model.safetensors")
    # The same rows and noise: only the order of sums differs. Other batches differ by the step, 1e-3 each.
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 2e-4


def test_stages_out_of_order_and_odd_workers_end_with_one_line(ray_cluster, run, capsys):
    assert mrigen("encode", run, *TINY) == 2
    assert "run `mrigen train-vae" in capsys.readouterr().err
    assert mrigen("train-vae", run, "--num-workers", 3, *TINY) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "mrigen: error: autoencoder.training.batch_size 8 is no multiple of 3 workers"
    assert mrigen("train-vae", run.parent / "none") == 2
    assert "RUN: no folder" in capsys.readouterr().err
