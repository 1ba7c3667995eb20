"""What a job may order: the options of `mrigen generate` that speak of the data set, as fields of JSON."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from jobs.serve.api import SamplerBody
from jobs.serve.refusals import Refused
from mrigen.cohort.order import CohortOrder
from mrigen.cohort.plan import CohortPlan
from mrigen.errors import InputError
from mrigen.model_folder.facts import ModelFacts
from mrigen.stages.generate import new_plan
from mrigen.storage import Location

MAX_JOB_BYTES = 1024 * 1024
MAX_SAMPLES = 100_000
MAX_ROWS = 5000
"""Of a plan."""
_MAX_DETAIL = 400


def _table(value: Any) -> Any:
    if not isinstance(value, dict | list | None):
        raise ValueError("must be an object of PATHOLOGY:MODALITY and numbers, or an array of rows")
    if value is not None and len(value) > MAX_ROWS:  # each may stand for twenty cells, and takes its time
        raise ValueError(f"{len(value)} rows: {MAX_ROWS} are the most; give equal ones as one, with its count")
    return value


class JobBody(SamplerBody):
    """The JSON body of `POST /v1/jobs`: a data set, in the words of `mrigen generate`."""

    cells: str | None = Field(None, description="Such as GBM:T1ce=5000,MS:*=200,HC:PD; those trained on if left out.")
    per_cell: int | None = Field(None, ge=1, le=MAX_SAMPLES, description="Samples of cells without a number; else 4.")
    plan: Annotated[
        Any,
        BeforeValidator(_table),
        WithJsonSchema(
            {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]}
        ),
        Field(
            description='In the place of cells: {"GBM:T1ce": 500}, or rows of pathology, modality and, where wanted, '
            "slice_mm and count."
        ),
    ] = None
    subjects: str | None = Field(None, description="Synthetic persons, each in all modalities: 100, or GBM=100,MS=50.")
    modalities: str | None = Field(None, description="Such as T1w,T2w,FLAIR, with subjects.")
    allow_untrained: bool = Field(False, description="Also cells that the model never saw, marked.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the data set.")
    format: str = Field("bids", description="Of bids, webdataset, huggingface, previews, parquet.")
    redraws: int = Field(3, ge=0, le=100, description="How often a rejected sample is drawn anew; 0 rejects none.")
    gates: str | None = Field(None, description="Also reject by labels, copies, where the model lies in its run.")
    shard_size: int = Field(64, ge=1, le=4096, description="Samples that are made, and counted as done, together.")

    def order(self) -> CohortOrder:
        """The same for `generate_run`. Raises InputError for an unknown modality."""
        fields = self.model_dump(exclude={"model"})
        return CohortOrder.of_words(table=fields.pop("plan"), formats=fields.pop("format"), **fields)

    def command(self) -> str:
        """What makes the same data set on the command line; words in capitals stand for files and folders."""
        words = ["mrigen", "generate", "--out", "OUT"]
        for name, value in self.model_dump(exclude_defaults=True).items():
            given = [] if value is True else [name.upper() if name in ("plan", "model") else str(value)]
            words += [f"--{name.replace('_', '-')}", *given]
        return shlex.join(words)


def plan_job(body: JobBody, facts: ModelFacts, model: Location | None, max_num_steps: int) -> CohortPlan:
    """The plan of what is ordered of a model, whose `facts` are read.

    Raises Refused(422) for what it cannot make, or what is too much.
    """
    try:
        plan = new_plan(body.order(), facts, model)
    except InputError as error:
        raise Refused(422, in_json_words(error, model)) from None
    if plan.num_samples > MAX_SAMPLES:
        raise Refused(422, f"{plan.num_samples} samples are asked for: {MAX_SAMPLES} are the most of a job")
    if plan.sampler.num_steps > max_num_steps:
        raise Refused(422, f"num_steps: {plan.sampler.num_steps} is more than {max_num_steps}, the most allowed here")
    return plan


def in_json_words(error: InputError, model: Location | None, samples: Location | None = None) -> str:
    """What the command line would tell, for a client: no paths of the server, fields instead of options, ASCII and not
    long."""
    message = str(error)
    run = model.parent if model and model.parent.name else None
    for place, name in ((samples, "the data set"), (model, "the model"), (run, "the model's run")):
        if place is not None:
            message = message.replace(str(place), name)
    fields = re.sub(r"--([a-z][a-z-]*[a-z])", lambda option: option[1].replace("-", "_"), message)
    plain = " ".join(fields.encode("ascii", "backslashreplace").decode().split())
    return plain if len(plain) <= _MAX_DETAIL else f"{plain[: _MAX_DETAIL - 3]}..."
