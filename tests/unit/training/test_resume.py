"""A run that was stopped and taken up again equals an undisturbed one, bit for bit."""

from __future__ import annotations

import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mrigen.config import Config, TrainingConfig
from mrigen.each import one_by_one
from mrigen.errors import InputError, Stopped
from mrigen.labels import all_cells
from mrigen.process.stopping import StopSignals
from mrigen.records import read_table
from mrigen.run import finish, require_finished
from mrigen.stages.encode import encode_run
from mrigen.storage import Location
from mrigen.training.accelerator import make_accelerator
from mrigen.training.checkpoints import Checkpoints
from mrigen.training.ldm import train_denoiser
from mrigen.training.places import RowOrder
from mrigen.training.state import TrainingState
from mrigen.training.vae import train_autoencoder
from tests.fake_run import SIZE, tiny_config, write_autoencoder, write_data


class Killed(Exception):
    """Raised in place of a kill."""


def quiet(step, values):
    """A report that says nothing."""


def kill_at(step_to_stop):
    def report(step, values):
        if step == step_to_stop:
            raise Killed

    return report


def stop_after(num_steps):
    steps = itertools.count(1)
    return lambda: next(steps) == num_steps


def wait_for(file: Location) -> None:
    """Until a checkpoint, which is written beside the steps, is there."""
    deadline = time.monotonic() + 60
    while not file.is_file():
        assert time.monotonic() < deadline, f"{file} never came"
        time.sleep(0.01)


def data_run(folder: Path, config: Config) -> Location:
    write_data(folder, all_cells()[:4], {"train": 2, "val": 1})
    return Location.parse(folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def test_a_stopped_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    config = tiny_config("denoiser.early_share=0.5")
    accelerator = make_accelerator(config)
    runs = [data_run(tmp_path / name, config) for name in ("undisturbed", "stopped")]
    for stage, loop in (("vae", train_autoencoder), ("ldm", train_denoiser)):
        undisturbed, stopped = runs
        if stage == "ldm":
            for run in runs:
                encode_run(run, config, one_by_one)
        loop(config, undisturbed, accelerator, quiet)
        with pytest.raises(Killed):
            loop(config, stopped, accelerator, kill_at(6))  # after the checkpoint of step 4, in the second epoch
        wait_for(stopped / stage / "checkpoints" / "step-00000004" / "COMPLETE.json")
        loop(config, stopped, accelerator, quiet)
    for part in ("vae", "model/unet", "model/vae"):
        first, second = weights(tmp_path / "undisturbed" / part), weights(tmp_path / "stopped" / part)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), part
    assert (tmp_path / "undisturbed/model/SHA256SUMS").read_bytes() == (
        tmp_path / "stopped/model/SHA256SUMS"
    ).read_bytes()


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("weights.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("state.pt", lambda data: data[: len(data) // 2]),
        ("COMPLETE.json", lambda data: data[: len(data) // 2]),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, caplog, name, harm):
    config = tiny_config("autoencoder.training.checkpoint_every=2")
    accelerator = make_accelerator(config)
    run = data_run(tmp_path / "run", config)
    with pytest.raises(Stopped):
        train_autoencoder(config, run, accelerator, quiet, stop_after(6))
    newest = tmp_path / "run/vae/checkpoints/step-00000006" / name
    newest.write_bytes(harm(newest.read_bytes()))
    seen = []
    train_autoencoder(config, run, accelerator, lambda step, values: seen.append(step))
    assert min(seen) == 6  # it went on from step 4: the first scalars after that are those of step 6
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{newest} is damaged: this checkpoint is passed over, for the one before it if there is one"
    ]


def test_who_is_asked_to_stop_leaves_a_checkpoint_of_that_step(tmp_path):
    config = tiny_config()
    run = data_run(tmp_path, config)
    with pytest.raises(Stopped, match=r"^stopped after 3 of 8 steps: the same command goes on from there$"):
        train_autoencoder(config, run, make_accelerator(config), quiet, stop_after(3))
    assert (tmp_path / "vae/checkpoints/step-00000003/COMPLETE.json").is_file()


def test_the_first_signal_is_noted_and_the_second_is_not_waited_for():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_checkpoints_come_by_the_clock_and_beside_the_steps(tmp_path, monkeypatch):
    """A slow disk holds no step up, and there is one checkpoint at a time."""
    written, goes_on = [], threading.Event()

    def slow_upload(self, folder):
        written.append(self.name)
        assert goes_on.wait(60)

    monkeypatch.setattr(Location, "upload", slow_upload)
    settings = TrainingConfig(num_steps=9, checkpoint_minutes=1e-9, warmup_steps=0)
    state = TrainingState(
        nn.Linear(3, 2), settings, make_accelerator(tiny_config()), Checkpoints(Location.parse(tmp_path), {})
    )
    begun = []
    for step in range(settings.num_steps - 1):
        state.update(step, [torch.ones(1, 3)], lambda step, batch: {"loss": state.network(batch).sum()})
        begun.append(state.keep(step + 1, stopping=False))
    assert begun == [True] + [False] * 7
    goes_on.set()
    with pytest.raises(Stopped):
        state.keep(8, stopping=True)
    assert written == ["step-00000001", "step-00000008"]


def test_a_disk_that_is_full_ends_training_at_the_next_step(tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Location, "upload", full)
    settings = TrainingConfig(num_steps=9, checkpoint_every=2)
    checkpoints = Checkpoints(Location.parse(tmp_path), {})
    state = TrainingState(nn.Linear(3, 2), settings, make_accelerator(tiny_config()), checkpoints)
    assert state.keep(2, stopping=False)
    checkpoints._thread.shutdown()
    with pytest.raises(OSError, match="No space left"):
        state.keep(3, stopping=False)


def test_data_that_was_prepared_otherwise_is_refused(tmp_path):
    run, config = data_run(tmp_path / "run", tiny_config()), tiny_config("data.spacing_mm=1.5")
    with pytest.raises(InputError, match="data was made with other settings than now asked for"):
        train_autoencoder(config, run, make_accelerator(config), quiet)


def test_a_training_that_breaks_down_stops_and_publishes_nothing(tmp_path):
    config = tiny_config("autoencoder.training.learning_rate=1e30", "autoencoder.training.warmup_steps=0")
    run = data_run(tmp_path / "run", config)
    with pytest.raises(InputError) as error:
        train_autoencoder(config, run, make_accelerator(config), quiet)
    told, _, names = str(error.value).rpartition(" The images: ")
    assert re.fullmatch(
        r"training broke down at step 2: a loss of nan, on average 0\.\d+ before, with a gradient of length nan\. Look "
        r"at the images of that step or lower the learning_rate, 1e\+30\. The last good checkpoint: none\.",
        told,
    )
    table = read_table(run / "data")
    train = [row["id"] for row in table.select(["id", "split"]).to_pylist() if row["split"] == "train"]
    assert names.split(", ") == [train[row] for row in RowOrder(len(train)).batch(8, seed=0, step=1)]
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    accelerator = make_accelerator(tiny_config())
    run = data_run(tmp_path / "run", tiny_config())
    with pytest.raises(Killed):
        train_autoencoder(tiny_config(), run, accelerator, kill_at(6))
    wait_for(run / "vae/checkpoints/step-00000004/COMPLETE.json")
    told = r"with other .*\(autoencoder.kl_weight was 0.0001, is 1.0; seed was 0, is 1\): .* delete"
    with pytest.raises(InputError, match=told):
        train_autoencoder(tiny_config("autoencoder.kl_weight=1.0", "seed=1"), run, accelerator, quiet)


def test_settings_that_change_no_weight_may_change_on_the_way(tmp_path):
    names = ("preview_every", "log_every", "checkpoint_every")
    other = tiny_config(*(f"autoencoder.training.{name}=3" for name in names))
    run = data_run(tmp_path / "run", tiny_config())
    with pytest.raises(Killed):
        train_autoencoder(tiny_config(), run, make_accelerator(tiny_config()), kill_at(6))
    wait_for(run / "vae/checkpoints/step-00000004/COMPLETE.json")
    seen = []
    train_autoencoder(other, run, make_accelerator(other), lambda step, values: seen.append(step))
    assert min(seen) == 6  # it went on from step 4, and told of every third
    train_autoencoder(tiny_config(), run, make_accelerator(other), kill_at(8))  # finished


def test_a_finished_stage_of_other_settings_is_refused(tmp_path):
    accelerator = make_accelerator(tiny_config())
    run = data_run(tmp_path / "run", tiny_config())
    train_autoencoder(tiny_config(), run, accelerator, quiet)
    train_autoencoder(tiny_config(), run, accelerator, kill_at(8))  # finished: not trained again
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


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_ray_a_signal_is_answered_by_a_checkpoint_and_a_status_of_its_own(tmp_path, number):
    data_run(tmp_path, tiny_config())
    settings = [f"data.image_size={SIZE}", "autoencoder.training.num_steps=1000000"]
    command = [sys.executable, "-m", "mrigen.training", str(tmp_path), "--preset", "tiny"]
    command += [part for setting in settings for part in ("--set", setting)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(Location.parse(tmp_path) / "vae/journal.jsonl")
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    newest = max((tmp_path / "vae/checkpoints").glob("step-*/COMPLETE.json")).parent.name
    done = int(newest.removeprefix("step-"))
    assert process.returncode == os.EX_TEMPFAIL
    told = f"stopped after {done} of 1000000 steps: the same command goes on from there"
    assert error.splitlines()[-1] == f"python -m mrigen.training: {told}"
    assert "Traceback" not in error
    assert sorted(os.listdir(tmp_path)) == ["data", "vae"]
