"""The application: what it can be told, and how it is made of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from jobs.serve.network import api_key_sha256
from mrigen.errors import InputError
from mrigen.storage import Location

if TYPE_CHECKING:
    from ray.serve import Application

    from jobs.serve.api import ModelInfo


class Args(BaseModel):
    """What the application can be told, on the command line or under `args:` of a Serve config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    """Model folder or URI, where every node can read it; the embedded model if left out."""
    num_replicas: int = Field(1, ge=1)
    use_gpu: bool = False
    max_queued: int = Field(64, ge=1)
    """Requests that may wait for a replica; one more is answered by 429."""
    max_num_steps: int = Field(100, ge=1, le=1000)
    request_timeout: int = Field(300, ge=1)
    """Seconds after which a request is answered by 504."""


def build_app(args: Mapping[str, Any]) -> Application:
    """The application for `import_path: jobs.serve:build_app` in a Serve config. MRIGEN_API_KEY is read here."""
    return load_app(Args.model_validate(args))[0]


def load_app(args: Args) -> tuple[Application, ModelInfo]:
    """Load the model once, to check it and to tell its facts, and bind the application."""
    from jobs.serve.api import describe
    from jobs.serve.deployments import bind
    from mrigen.model_card import trained_on
    from mrigen.pipeline import Pipeline

    key_sha256 = api_key_sha256()
    model = None if args.model is None else Location.parse(args.model)
    if model is not None and not model.is_folder():
        raise InputError(f"--model: no folder {args.model}")
    pipeline = Pipeline.load(model)
    note = trained_on(pipeline.model.training_sources) if model is None else None
    info = describe(pipeline, _model_name(model), args.max_num_steps, note)
    return bind(args, model, info, key_sha256), info


def _model_name(model: Location | None) -> str:
    """The folder's name; of `RUN/model`, that of the run. No more of the path is told to clients."""
    if model is None:
        return "embedded"
    parts = [part for part in model.path.split("/") if part]
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]
