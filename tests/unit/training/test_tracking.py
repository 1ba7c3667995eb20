"""What MLflow has of a training, by a real server on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mrigen.config import TrainingConfig
from mrigen.errors import InputError
from mrigen.storage import Location
from mrigen.training.journal import Journal
from tests.command import wait_for
from tests.ports import free_port

SETTINGS = TrainingConfig(num_steps=6)


def new_journal(folder: Path, first_step: int) -> Journal:
    params = {"denoiser.training.num_steps": 6, "seed": 3}
    return Journal(Location.parse(folder), SETTINGS, first_step, lambda step, values: None, 1.0, params)


def test_without_mlflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError) as error:
        new_journal(tmp_path, 0)
    assert str(error.value) == (
        "MLFLOW_TRACKING_URI is set, but MLflow is not installed: pip install 'mrigen[mlflow]', or unset it"
    )


def test_a_server_that_does_not_answer_is_named(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(os, "environ", os.environ | {"MLFLOW_TRACKING_URI": uri})
    began = time.monotonic()
    with pytest.raises(InputError, match=f"^MLFLOW_TRACKING_URI={uri} cannot be used: .*Max retries exceeded"):
        new_journal(tmp_path, 0)
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_in_its_run_of_mlflow_and_is_not_disturbed_by_its_end(
    tmp_path, monkeypatch, caplog
):
    mlflow = pytest.importorskip("mlflow")
    port = free_port()
    command = [*(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1")]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = tmp_path / "mine" / "ldm"
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    with subprocess.Popen(command, cwd=tmp_path, env=own | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}) as server:
        try:
            wait_for(lambda: answers(port), 240)
            killed = new_journal(folder, 0)
            killed.scalars(2, {"loss": 1.5, "val_loss/Healthy:T1w": 0.5})
            killed._tracking._sender.shutdown()
            journal = new_journal(folder, 2)
            journal.scalars(4, {"loss": 1.25})
            journal.close()
            client = mlflow.MlflowClient()
            [experiment] = client.search_experiments(filter_string="name = 'mrigen'")
            [run] = client.search_runs([experiment.experiment_id])
            assert run.info.run_name == "mine/ldm"
            assert run.info.status == "FINISHED"
            assert run.data.params == {"denoiser.training.num_steps": "6", "seed": "3"}
            loss = client.get_metric_history(run.info.run_id, "loss")
            assert [(point.step, point.value) for point in loss] == [(2, 1.5), (4, 1.25)]
            assert run.data.metrics["val_loss/Healthy:T1w"] == 0.5
            journal = new_journal(folder, 4)
        finally:
            server.terminate()
    journal.scalars(6, {"loss": 1.0})
    journal.close()
    assert len([message for message in caplog.messages if message.startswith("MLflow has no more of this")]) == 1
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 3


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return True
    except OSError:
        return False
