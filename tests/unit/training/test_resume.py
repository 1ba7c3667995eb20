"""A run that was stopped and taken up again equals an undisturbed one, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mrigen.config import Config
from mrigen.each import one_by_one
from mrigen.errors import InputError
from mrigen.labels import all_cells
from mrigen.run import finish, require_finished
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.ldm import train_denoiser
from mrigen.training.vae import train_autoencoder
from tests.fake_run import tiny_config, write_autoencoder, write_data


class Stopped(Exception):
    """Raised in place of a kill."""


def quiet(step, values):
    """A report that says nothing."""


def stop_at(step_to_stop):
    def report(step, values):
        if step == step_to_stop:
            raise Stopped

    return report


def data_run(folder: Path, config: Config) -> Location:
    write_data(folder, all_cells()[:4], {"train": 2, "val": 1})
    return Location.parse(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def test_a_stopped_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    config = tiny_config()
    accelerator = make_accelerator(config)
    runs = [data_run(tmp_path / name, config) for name in ("undisturbed", "stopped")]
    for stage, loop in (("vae", train_autoencoder), ("ldm", train_denoiser)):
        undisturbed, stopped = runs
        if stage == "ldm":
            for run in runs:
                encode_run(run, config, one_by_one)
        loop(config, undisturbed, accelerator, quiet)
        with pytest.raises(Stopped):
            loop(config, stopped, accelerator, stop_at(6))  # after the checkpoint of step 4, in the second epoch
        assert (stopped / stage / "checkpoints" / "step-00000004" / "COMPLETE.json").is_file()
        loop(config, stopped, accelerator, quiet)
    for part in ("vae", "model/unet", "model/vae"):
        first, second = weights(tmp_path / "undisturbed" / part), weights(tmp_path / "stopped" / part)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), part
    assert (tmp_path / "undisturbed/model/SHA256SUMS").read_bytes() == (
        tmp_path / "stopped/model/SHA256SUMS"
    ).read_bytes()


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    config = tiny_config("autoencoder.training.checkpoint_every=2")
    accelerator = make_accelerator(config)
    run = data_run(tmp_path / "run", config)
    with pytest.raises(Stopped):
        train_autoencoder(config, run, accelerator, stop_at(8))
    newest = tmp_path / "run/vae/checkpoints/step-00000006/weights.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    seen = []
    train_autoencoder(config, run, accelerator, lambda step, values: seen.append(step))
    assert min(seen) == 6  # it went on from step 4: the first scalars after that are those of step 6


def test_data_that_was_prepared_otherwise_is_refused(tmp_path):
    run, config = data_run(tmp_path / "run", tiny_config()), tiny_config("data.spacing_mm=1.5")
    with pytest.raises(InputError, match="data was made with other settings than now asked for"):
        train_autoencoder(config, run, make_accelerator(config), quiet)


def test_a_training_that_breaks_down_stops_and_publishes_nothing(tmp_path):
    config = tiny_config("autoencoder.training.learning_rate=1e30", "autoencoder.training.warmup_steps=0")
    run = data_run(tmp_path / "run", config)
    with pytest.raises(InputError) as error:
        train_autoencoder(config, run, make_accelerator(config), quiet)
    assert str(error.value) == (
        "training broke down by step 2: a gradient was not finite. Lower the learning_rate, 1e+30, and start again; "
        "the weights of the last checkpoint are whole"
    )
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    accelerator = make_accelerator(tiny_config())
    run = data_run(tmp_path / "run", tiny_config())
    with pytest.raises(Stopped):
        train_autoencoder(tiny_config(), run, accelerator, stop_at(6))
    told = r"with other .*\(autoencoder.kl_weight was 0.0001, is 1.0; seed was 0, is 1\): .* delete"
    with pytest.raises(InputError, match=told):
        train_autoencoder(tiny_config("autoencoder.kl_weight=1.0", "seed=1"), run, accelerator, quiet)


def test_settings_that_change_no_weight_may_change_on_the_way(tmp_path):
    names = ("preview_every", "log_every", "checkpoint_every")
    other = tiny_config(*(f"autoencoder.training.{name}=3" for name in names))
    run = data_run(tmp_path / "run", tiny_config())
    with pytest.raises(Stopped):
        train_autoencoder(tiny_config(), run, make_accelerator(tiny_config()), stop_at(6))
    seen = []
    train_autoencoder(other, run, make_accelerator(other), lambda step, values: seen.append(step))
    assert min(seen) == 6  # it went on from step 4, and told of every third
    train_autoencoder(tiny_config(), run, make_accelerator(other), stop_at(8))  # finished


def test_a_finished_stage_of_other_settings_is_refused(tmp_path):
    accelerator = make_accelerator(tiny_config())
    run = data_run(tmp_path / "run", tiny_config())
    train_autoencoder(tiny_config(), run, accelerator, quiet)
    train_autoencoder(tiny_config(), run, accelerator, stop_at(8))  # finished: not trained again
    with pytest.raises(InputError, match="was made with other settings than now asked for"):
        train_autoencoder(tiny_config("seed=1"), run, accelerator, quiet)
    with pytest.raises(InputError, match="run `mrigen encode"):
        require_finished(run, tiny_config(), "latents", "encode")


def test_data_that_is_not_all_there_is_neither_trained_on_nor_encoded(tmp_path):
    run, config = Location.parse(tmp_path), tiny_config()
    write_data(tmp_path, all_cells()[:2], {"train": 4})
    write_autoencoder(tmp_path / "vae", config)
    (tmp_path / "data" / "part-00001.parquet").unlink()
    lost = "lacks 1 of 2 files, such as part-00001.parquet"
    with pytest.raises(InputError, match=lost):
        train_autoencoder(config, run, make_accelerator(config), quiet)
    finish(run, config, "vae")
    with pytest.raises(InputError, match=lost):
        encode_run(run, config, one_by_one)


def test_no_training_image_is_an_error_that_says_so(tmp_path):
    write_data(tmp_path / "run", all_cells()[:2], {"val": 1})
    with pytest.raises(InputError, match="holds no training image: its `train` split is empty"):
        train_autoencoder(tiny_config(), Location.parse(tmp_path / "run"), make_accelerator(tiny_config()), quiet)
