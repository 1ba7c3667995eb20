"""A request for samples: its fields, what is wrong with it, and the order that it becomes.

JSON body -> SampleBody -> Order (everything decided: seed, sampler, format)
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from jobs.serve.reading import shown
from jobs.serve.refusals import Refused
from mrigen import __version__
from mrigen.config import SamplerConfig
from mrigen.diffusion.solvers import SOLVERS, SolverName
from mrigen.labels import Cell, Modality, Pathology, all_cells

if TYPE_CHECKING:
    from mrigen.pipeline import Pipeline

Format = Literal["nifti", "png", "npy"]

MAX_BODY_BYTES = 16 * 1024
MAX_COUNT = 64
MAX_LABEL = 64
_JAVASCRIPT_SAFE_BITS = 53


def _label(kind: type[Pathology] | type[Modality]) -> BeforeValidator:
    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"must be a string, one of {', '.join(kind)}; got {shown(value)}")
        if len(value) > MAX_LABEL:
            raise ValueError(f"{len(value)} characters long; known are {', '.join(kind)}")
        return kind.parse(value)

    return BeforeValidator(read)


class SamplerBody(BaseModel):
    """The fields of a JSON body that say how samples are drawn, and by which model.

    Numbers must be numbers: neither `true` nor `"5"` is one.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    num_steps: int | None = Field(None, ge=1, description="Solver steps. The model's own default if left out.")
    guidance_scale: float | None = Field(
        None, ge=0.0, le=50.0, description="1 is no guidance, more follows the labels more closely."
    )
    pathology_scale: float | None = Field(
        None, ge=0.0, le=50.0, description="Guidance by the pathology alone, beside that by both labels."
    )
    modality_scale: float | None = Field(None, ge=0.0, le=50.0, description="The same by the modality alone.")
    solver: SolverName | None = Field(None, description="The model's own default if left out.")
    slice_mm: float | None = Field(
        None, description="Height of the slice above the brain's centre. Drawn by the seed if left out."
    )
    source: str | None = Field(
        None, description="Site or scanner, one of `sources` of GET /v1/model; the average over them if left out."
    )
    model: str | None = Field(None, description="Name of a model of GET /v1/models; the first if left out.")

    def sampler(self) -> dict[str, Any]:
        """The settings that were sent, as those of SamplerConfig."""
        return self.model_dump(include=set(SamplerConfig.model_fields), exclude_none=True)


class SampleBody(SamplerBody):
    """The JSON body of `POST /v1/samples`."""

    pathology: Annotated[
        Pathology,
        _label(Pathology),
        WithJsonSchema({"type": "string", "enum": [str(label) for label in Pathology]}),
        Field(description="Healthy, Glioblastoma, Sclerosis or Dementia; usual spellings such as GBM or MS too."),
    ]
    modality: Annotated[
        Modality,
        _label(Modality),
        WithJsonSchema({"type": "string", "enum": [str(label) for label in Modality]}),
        Field(description="T1w, T1ce, T2w, FLAIR or PD; usual spellings such as t1c or flair too."),
    ]
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Number of samples; more than one come as a zip archive.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="The same seed gives the same images. Drawn at random, and told, if left out."
    )
    allow_untrained: bool = Field(
        False, description="Also make a pair of labels that the model never saw together; it is marked so."
    )
    format: Format = Field("nifti", description="nifti (.nii.gz), png (8-bit, upright) or npy (float32, [x, y]).")


@dataclass(frozen=True)
class Order:
    """Samples `0 .. count-1` of one cell and seed, with nothing left open but drawn slice heights."""

    cell: Cell
    count: int
    seed: int
    sampler: SamplerConfig
    slice_mm: float | None
    format: Format
    model_sha256: str
    source: str | None = None


class Limits(BaseModel):
    """The most that one request may ask for here."""

    count: int = MAX_COUNT
    num_steps: int
    body_bytes: int = MAX_BODY_BYTES
    slice_mm: tuple[float, float]


class CellInfo(BaseModel):
    """One pathology in one modality, and what the model saw of it."""

    pathology: Pathology
    modality: Modality
    training_images: int
    trained: bool


class ModelInfo(BaseModel):
    """The answer of `GET /v1/model`, and of `GET /v1/models` one of several."""

    name: str
    note: str | None
    sha256: str
    mrigen_version: str = __version__
    synthetic: Literal[True] = True
    data: dict[str, Any]
    cells: list[CellInfo]
    sources: list[str]
    """Those that a request may name."""
    defaults: SamplerConfig
    limits: Limits
    formats: list[str] = list(get_args(Format))
    solvers: list[str] = list(SOLVERS)

    def trained(self, cell: Cell) -> bool:
        """Whether the model saw images of `cell` in training."""
        return any(
            info.trained for info in self.cells if (info.pathology, info.modality) == (cell.pathology, cell.modality)
        )

    @property
    def trained_cells(self) -> list[Cell]:
        """The cells that the model saw in training."""
        return [Cell(info.pathology, info.modality) for info in self.cells if info.trained]


def describe(pipeline: Pipeline, name: str, max_num_steps: int, note: str | None = None) -> ModelInfo:
    """The facts of a loaded model that the HTTP side needs, so that it need not load the model itself.

    `note` is what a user must know of the model before looking at its images.
    """
    config = pipeline.config
    num_steps = min(max_num_steps, config.diffusion.num_train_timesteps)
    quantiles = pipeline.model.slice_mm_quantiles
    return ModelInfo(
        name=name,
        note=note,
        sha256=pipeline.model_sha256,
        data=config.data.model_dump(mode="json"),
        cells=[
            CellInfo(
                pathology=cell.pathology,
                modality=cell.modality,
                training_images=pipeline.training_counts.get(cell, 0),
                trained=pipeline.is_trained(cell),
            )
            for cell in all_cells()
        ],
        sources=list(pipeline.model.sources),
        defaults=config.sampler.model_copy(update={"num_steps": min(config.sampler.num_steps, num_steps)}),
        limits=Limits(num_steps=num_steps, slice_mm=(quantiles[0], quantiles[-1])),
    )


def model_named(name: str | None, models: Sequence[ModelInfo]) -> ModelInfo:
    """The model of this name; without one the first. Raises Refused(422) for a name that none has."""
    found = next((model for model in models if name in (None, model.name)), None)
    if found is None:
        raise Refused(422, f"model: {shown(name)} is not served here; known are {', '.join(m.name for m in models)}")
    return found


def place_order(body: SampleBody, model: ModelInfo) -> Order:
    """Hold a request against what the model can do, and fill in what was left open.

    Raises Refused(422) for a cell that was never trained (unless allowed), or a number beyond the limits.
    """
    cell, limits = Cell(body.pathology, body.modality), model.limits
    if not body.allow_untrained and not model.trained(cell):
        raise Refused(
            422,
            f"the model saw no {cell.pathology} in {cell.modality} in training; "
            'send "allow_untrained": true to have it all the same, or choose a trained pair from GET /v1/model',
        )
    if body.num_steps is not None and body.num_steps > limits.num_steps:
        raise Refused(422, f"num_steps: {shown(body.num_steps)} is more than {limits.num_steps}, the most allowed here")
    low, high = limits.slice_mm
    if body.slice_mm is not None and not low <= body.slice_mm <= high:
        raise Refused(
            422, f"slice_mm: {shown(body.slice_mm)} lies outside {low:g} to {high:g}, where the model was trained"
        )
    if body.source is not None and body.source not in model.sources:
        known = f"known are {', '.join(map(shown, model.sources))}" if model.sources else "it tells none apart"
        raise Refused(422, f"source: the model does not know {shown(body.source)}; {known}; or leave it out")
    return Order(
        cell=cell,
        count=body.count,
        # Small enough for a JavaScript client to read it back exactly.
        seed=secrets.randbits(_JAVASCRIPT_SAFE_BITS) if body.seed is None else body.seed,
        sampler=model.defaults.model_copy(update=body.sampler()),
        slice_mm=body.slice_mm,
        format=body.format,
        model_sha256=model.sha256,
        source=body.source,
    )
