"""Training on Ray Train: two workers see the batches of one; errors come out as one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mrigen.errors import InputError
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
def test_the_chain_on_two_workers_agrees_with_one_process(ray_cluster, run, tmp_path, capsys):
    from mrigen.config import load_config
    from mrigen.storage import Location
    from mrigen.training.accelerator import make_accelerator
    from mrigen.training.ldm import train_denoiser
    from mrigen.training.vae import train_autoencoder

    assert mrigen("train-vae", run, "--num-workers", 2, *TINY) == 0
    assert mrigen("train-ldm", run) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]  # of the worker
    assert error == f"mrigen: error: no Parquet file in {run / 'latents'}: run the stage before this one first"
    assert mrigen("encode", run, "--num-workers", 2) == 0
    assert mrigen("train-ldm", run, "--num-workers", 2) == 0
    assert (run / "model" / "SHA256SUMS").is_file()
    assert list((run / "vae" / "tensorboard").glob("events*"))
    assert (run / "ldm" / "previews" / "step-00000008.png").read_bytes().startswith(b"\x89PNG")
    assert not (run / ".ray_train").exists()

    config = load_config("tiny", overrides=[f"data.image_size={SIZE}"])
    accelerator = make_accelerator(config)
    # Each stage starts from what two workers made, so that nothing but their number differs.
    for train, needs, result in (
        (train_autoencoder, ["data"], "vae"),
        (train_denoiser, ["vae", "latents"], "model/unet"),
    ):
        alone = tmp_path / train.__name__
        for name in needs:
            shutil.copytree(run / name, alone / name)
        train(config, Location.parse(alone), accelerator, lambda step, values: None)
        two, one = (load_file(folder / result / "diffusion_pytorch_model.safetensors") for folder in (run, alone))
        # The same rows and noise: only the order of sums differs. Other batches differ by the step, 1e-3 each.
        torch.testing.assert_close(two, one, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("verb", [["train-vae"], ["train-ldm"], None], ids=["train-vae", "train-ldm", "without Ray"])
def test_a_run_in_training_is_refused_to_a_second_driver(run, capsys, verb):
    from mrigen.process.lease import leased
    from mrigen.storage import Location
    from mrigen.training.__main__ import command

    with leased(Location.parse(run)):
        if verb:
            assert mrigen(*verb, run, *TINY) == 2
            error = capsys.readouterr().err
        else:
            with pytest.raises(InputError) as raised:
                command.main([str(run), *TINY], standalone_mode=False)
            error = f"mrigen: error: {raised.value}"
    assert error.startswith(f"mrigen: error: {run} is in use by ")
    assert not (run / "config.json").exists()
