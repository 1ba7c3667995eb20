"""The HTTP side: routes, authentication, limits, and answers. Knows a backend, not Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from jobs.serve.api import (
    MAX_BODY_BYTES,
    ModelInfo,
    Order,
    SampleBody,
    model_named,
    place_order,
)
from jobs.serve.files import MEDIA_TYPES, Made, SampleFile, archive, provenance_headers, stem
from jobs.serve.guard import Door, Guard, own_names
from jobs.serve.keys import Keys, charged, key_of
from jobs.serve.meter import Meter
from jobs.serve.pace import Pace
from jobs.serve.reading import read_body
from jobs.serve.refusals import LEFT, RETRY_S, Refused, answer_of, problems
from mrigen import __version__

Result = TypeVar("Result")

_VIEWER = Path(__file__).parent / "niivue" / "niivue-0.69.0.js"
"""What shows images on the page; a new version has a new name, and this one is kept by browsers."""
_BEARER = HTTPBearer(auto_error=False, description="The API key.")


class Backend(Protocol):
    """Who makes the samples."""

    async def make(self, order: Order) -> Made:
        """The files of an order. Raises Refused(429) when too much waits, Refused(503) when a worker was lost.

        Cancelled, it ends the work.
        """

    async def ready(self) -> bool:
        """Whether a model is loaded and its worker alive."""


class Health(BaseModel):
    """The answer of `GET /v1/healthz` and `/v1/readyz`."""

    status: str = "ok"
    model_sha256: str


def make_app(
    backend: Backend,
    models: Sequence[ModelInfo],
    *,
    request_timeout_s: float = 300.0,
    num_workers: int = 1,
    keys: Keys | None = None,
    door: Door | None = None,
    jobs: APIRouter | None = None,
    meter: Meter | None = None,
) -> FastAPI:
    """The web application around a backend and the models that it runs, of which the first is the usual one.

    `num_workers` work for the backend at once; `keys` are those that clients must send, or None for none; `door` is
    closed by who stops the server; `jobs` are the routes of jobs, where these are taken; the `meter` is told to
    operators, with what others note there.
    """
    app = FastAPI(
        title="mrigen",
        version=__version__,
        summary="Synthetic brain MRI of a chosen pathology and modality.",
        description="Every image is synthetic: no scan of a person, and not for diagnosis.",
        docs_url=None,  # FastAPI's page loads scripts from the network; ours does not
        redoc_url=None,
        openapi_url=None,  # ours is of `_described`
        generate_unique_id_function=lambda route: route.name,  # by which generated clients call it
        redirect_slashes=False,  # to wherever the header Host says
    )
    meter, pace = meter or Meter(models), Pace(num_workers)
    names = own_names() if keys is None else None
    app.add_middleware(Guard, door=door or Door(), meter=meter, names=names)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return answer_of(error)

    @app.exception_handler(405)
    async def wrong_method(request: Request, error: Exception) -> JSONResponse:
        # Starlette tells the methods of one route, and a path may have several.
        described = app.openapi()["paths"].get(request.scope["route"].path, ["get"])
        allowed = ", ".join(
            sorted({method.upper() for method in described} | ({"HEAD"} if "get" in described else set()))
        )
        return JSONResponse({"detail": f"the method must be {allowed}"}, 405, {"Allow": allowed})

    async def authenticate(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> None:
        assert keys is not None
        client = keys.client_of(credentials.credentials if credentials else "")
        if client is None:
            raise Refused(401, "send the API key, with the header Authorization: Bearer KEY")
        request.state.key = client.name  # before it may be refused, so that the access log names it
        keys.admit(client)

    guarded = APIRouter(
        dependencies=[] if keys is None else [Depends(authenticate)],
        responses=problems(403, 421) if keys is None else problems(401),
    )

    @guarded.post("/v1/samples", **_samples_docs())
    async def draw_samples(request: Request) -> Response:
        """Draw samples of one pathology in one modality.

        One sample is answered as the file itself; more as a zip archive with an `index.json`. The `X-Mrigen-*`
        headers hold all that makes the images again.
        """
        body = await read_body(request, SampleBody, MAX_BODY_BYTES)
        model = model_named(body.model, models)
        order = place_order(body, model)
        count, num_steps = order.count, order.sampler.num_steps
        told = {"model": model.name, "cell": str(order.cell), "count": count, "num_steps": num_steps}
        request.state.order = told
        with charged(keys, key_of(request), order.count), pace.admitted(order, request_timeout_s):
            made = await meter.noted(order, _while_wanted(request, backend.make(order), request_timeout_s))
        pace.note(order, made)
        return await asyncio.to_thread(_answer, order, made.files)

    @guarded.get("/v1/model")
    async def describe_model() -> ModelInfo:
        """The model that draws where none is named: its hash, what it was trained on, its defaults and limits."""
        return models[0]

    @guarded.get("/v1/models")
    async def list_models() -> list[ModelInfo]:
        """All models behind this server, by whose `name` a request may choose."""
        return list(models)

    @guarded.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(meter.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/livez")
    @app.get("/v1/healthz", name="healthz", description="The same as `/v1/livez`, by its older name.")
    async def livez() -> Health:
        """Whether the server answers at all. Needs no API key."""
        return Health(model_sha256=models[0].sha256)

    @app.get("/v1/readyz", responses=problems(503))
    async def readyz() -> Health:
        """Whether samples can be made now: a model is loaded and its worker alive. Needs no API key."""
        if not await backend.ready():
            raise Refused(503, "no worker is ready", retry_after_s=RETRY_S)
        return Health(model_sha256=models[0].sha256)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return _html("page.html")

    @app.get(f"/{_VIEWER.name}", include_in_schema=False)
    async def viewer() -> FileResponse:
        return FileResponse(_VIEWER, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _html("docs.html")

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(_described(app, models))

    if jobs is not None:
        guarded.include_router(jobs)
    app.include_router(guarded)
    return app


def _html(name: str) -> HTMLResponse:
    palette = (resources.files("mrigen.report") / "palette.css").read_text(encoding="utf-8")
    page = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return HTMLResponse(page.replace("PALETTE", palette, 1))


async def _while_wanted(request: Request, making: Awaitable[Result], timeout_s: float) -> Result:
    """The result, unless the client leaves or the time is over first: then the work is cancelled."""
    work, leaving = asyncio.ensure_future(making), asyncio.ensure_future(_left(request))
    either: set[asyncio.Future[Any]] = {work, leaving}
    try:
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if leaving.done():
            raise Refused(LEFT, "the client left")  # which nobody reads
        raise Refused(504, f"not made within {timeout_s:g} s: ask for fewer samples or steps", retry_after_s=RETRY_S)
    finally:
        work.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _samples_docs() -> dict[str, Any]:
    """How OpenAPI describes a request for samples."""
    schema = SampleBody.model_json_schema()
    fields = schema["properties"]
    # What must be sent comes first, for readers; the rest keeps its order.
    schema["properties"] = {name: fields[name] for name in (*schema["required"], *fields)}
    return {
        "response_class": Response,
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
        "responses": {
            200: {
                "description": "One file, or a zip archive of several.",
                "content": dict.fromkeys([*dict.fromkeys(MEDIA_TYPES.values()), "application/zip"], _BINARY),
            },
            **problems(405, 408, 413, 415, 422, 429, 503, 504),
        },
    }


def _value_of(schema: dict[str, Any], field: str) -> dict[str, Any]:
    """The part of a nullable field's schema that speaks of what is not null."""
    parts: list[dict[str, Any]] = schema["properties"][field]["anyOf"]
    return next(part for part in parts if part["type"] != "null")


def _described(app: FastAPI, models: Sequence[ModelInfo]) -> dict[str, Any]:
    """The application in OpenAPI's words: its bodies by name, as generated clients call them, with the names of these
    models and the widest of their limits."""
    api: dict[str, Any] = _exact(app.openapi())
    lows, highs = zip(*(model.limits.slice_mm for model in models), strict=True)
    for operation in (operation for path in api["paths"].values() for operation in path.values()):
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            schema = content["schema"]
            _value_of(schema, "model")["enum"] = [model.name for model in models]
            if sources := sorted({source for model in models for source in model.sources}):
                _value_of(schema, "source")["enum"] = sources
            _value_of(schema, "num_steps")["maximum"] = max(model.limits.num_steps for model in models)
            _value_of(schema, "slice_mm").update(minimum=min(lows), maximum=max(highs))
            api["components"]["schemas"][schema["title"]] = schema
            content["schema"] = {"$ref": f"#/components/schemas/{schema['title']}"}
    return api


def _exact(schema: Any) -> Any:
    """The same with whole numbers as integers: FastAPI writes bounds as floats, and 2^63 reads as more than it is."""
    if isinstance(schema, dict):
        return {name: _exact(value) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_exact(value) for value in schema]
    return int(schema) if isinstance(schema, float) and schema.is_integer() else schema


def _answer(order: Order, files: Sequence[SampleFile]) -> Response:
    headers = provenance_headers(files)
    if order.count == 1:
        content, media_type, name = files[0].data, MEDIA_TYPES[order.format], files[0].name
    else:
        content, media_type, name = archive(files), "application/zip", f"{stem(order)}.zip"
    kind = "inline" if media_type == "image/png" else "attachment"
    return Response(
        content, media_type=media_type, headers=headers | {"Content-Disposition": f'{kind}; filename="{name}"'}
    )
