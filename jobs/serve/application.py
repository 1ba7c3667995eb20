"""The application: what it can be told, and how it is made of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from jobs.serve.keys import Keys
from mrigen.errors import InputError
from mrigen.storage import Location

if TYPE_CHECKING:
    from ray.serve import Application

    from jobs.serve.api import ModelInfo


_NAMED = re.compile(r"([A-Za-z0-9._-]{1,64})=(.+)")


@dataclass(frozen=True)
class Served:
    """A model that is served, and its folder or URI as it was given, which may hold what opens it."""

    folder: str | None
    info: ModelInfo

    @property
    def location(self) -> Location | None:
        """Where it is; None for the embedded model."""
        return None if self.folder is None else Location.parse(self.folder)


def locations(served: Iterable[Served]) -> dict[str, Location | None]:
    """Where models are, by their SHA-256."""
    return {model.info.sha256: model.location for model in served}


def _as_several(given: Any) -> Any:
    return [given] if isinstance(given, str) else given or []


class Args(BaseModel):
    """What the application can be told, on the command line or under `args:` of a Serve config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[tuple[str, ...], BeforeValidator(_as_several)] = ()
    """Folder or URI, or NAME=FOLDER, of one model or several, where every node can read it; else the embedded model."""
    num_replicas: int = Field(1, ge=1)
    least_replicas: int | None = Field(None, ge=1)
    """Where given, there are so many at first, and up to `num_replicas` as more requests wait."""
    use_gpu: bool = False
    max_queued: int = Field(64, ge=1)
    """Requests that may wait for a replica; one more is answered by 429."""
    max_num_steps: int = Field(100, ge=1, le=1000)
    request_timeout: int = Field(300, ge=1)
    """Seconds after which a request is answered by 504."""
    drain_s: int = Field(30, ge=0)
    """Seconds in which accepted work may end when the server is stopped."""
    keys: str | None = None
    """File of names and hashes of API keys, where every front can read it; MRIGEN_API_KEY alone if left out."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least_replicas is not None and self.least_replicas > self.num_replicas:
            raise ValueError(f"least_replicas {self.least_replicas} is more than num_replicas {self.num_replicas}")
        return self


def build_app(args: Mapping[str, Any]) -> Application:
    """The application for `import_path: jobs.serve:build_app` in a Serve config. MRIGEN_API_KEY is read here."""
    from jobs.serve.deployments import bind

    known = Args.model_validate(args)
    keys = Keys.read(known.keys)
    return bind(known, load_facts(known), keys)


def load_facts(args: Args) -> list[Served]:
    """The models, each of which is loaded once to check it. Raises InputError for two of one name."""
    served = [_load_facts(word, args.max_num_steps) for word in args.model or (None,)]
    names = [model.info.name for model in served]
    if again := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--model: two are named {again[0]}: give each a name, as NAME=DIR")
    return served


def _load_facts(word: str | None, max_num_steps: int) -> Served:
    from jobs.serve.api import describe
    from mrigen.model_folder.card import trained_on
    from mrigen.pipeline import Pipeline

    name, folder = match.groups() if word and (match := _NAMED.fullmatch(word)) else (None, word)
    location = None if folder is None else Location.parse(folder)
    if location is not None and not location.is_folder():
        raise InputError(f"--model: no folder {folder}")
    pipeline = Pipeline.load(location)
    note = trained_on(pipeline.model.training_sources) if location is None else None
    return Served(folder, describe(pipeline, name or _model_name(location), max_num_steps, note))


def _model_name(model: Location | None) -> str:
    """The folder's name; of `RUN/model`, that of the run. No more of the path is told to clients."""
    if model is None:
        return "embedded"
    parts = [part for part in model.path.split("/") if part]
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]
