"""The scalars of a training in MLflow, where `MLFLOW_TRACKING_URI` names a server or a database (extra `mlflow`)."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mrigen.errors import InputError
from mrigen.storage import Location

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
RUN_FILE = "mlflow.json"
"""In a stage's folder: which run of MLflow it is, so that a training that goes on does so there, too."""

_log = logging.getLogger(__name__)


class Tracking:
    """A run of MLflow, of the experiment `MLFLOW_EXPERIMENT_NAME` or else `mrigen`, for one stage of a run."""

    def __init__(self, folder: Location, params: Mapping[str, Any]) -> None:
        """Go on with the run that the stage's `folder` tells of, or begin one with `params`.

        Raises InputError if MLflow is not installed, or does not answer.
        """
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise InputError(
                f"{URI} is set, but MLflow is not installed: pip install 'mrigen[mlflow]', or unset it"
            ) from None
        # MLflow's own are seven tries of two minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._metric, self._error = Metric, MlflowException
        self._sender, self._is_lost = ThreadPoolExecutor(1, "mrigen-mlflow"), False
        try:
            self._client = MlflowClient(os.environ[URI])
            if (folder / RUN_FILE).is_file():
                self._run = (folder / RUN_FILE).read_json()["run_id"]
                self._client.update_run(self._run, status="RUNNING")
                return
            name = os.environ.get(EXPERIMENT, "mrigen")
            experiment = self._client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self._client.create_experiment(name)
            self._run = self._client.create_run(number, run_name="/".join(folder.path.split("/")[-2:])).info.run_id
            self._client.log_batch(self._run, params=[Param(key, str(value)) for key, value in params.items()])
            (folder / RUN_FILE).write_json({"run_id": self._run})
        except MlflowException as error:
            raise InputError(f"{URI}={os.environ[URI]} cannot be used: {' '.join(str(error).split())[:300]}") from None

    def scalars(self, done: int, values: Mapping[str, float]) -> None:
        """Send scalars after `done` steps, beside the training, which goes on if they do not arrive."""
        now = int(1000 * time.time())
        self._sender.submit(self._send, [self._metric(name, value, now, done) for name, value in values.items()])

    def close(self) -> None:
        """Wait until all is sent, and call the run finished."""
        self._sender.submit(self._send, [], finished=True)
        self._sender.shutdown()

    def _send(self, metrics: list[Any], finished: bool = False) -> None:
        if self._is_lost:
            return
        try:
            self._client.log_batch(self._run, metrics)
            if finished:
                self._client.set_terminated(self._run)
        except self._error as error:
            self._is_lost = True
            _log.warning("MLflow has no more of this training: %s", " ".join(str(error).split())[:300])
