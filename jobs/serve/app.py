"""The HTTP side: routes, authentication, limits, and answers. Knows a backend, not Ray."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from jobs.serve.api import MAX_BODY_BYTES, ModelInfo, Order, Refused, SampleBody, parse_body, place_order
from jobs.serve.files import MEDIA_TYPES, SampleFile, archive, provenance_headers, stem
from mrigen import __version__

BODY_TIMEOUT_S = 10.0
BUSY_RETRY_S = 2
_BEARER = HTTPBearer(auto_error=False, description="Needed where the server was started with MRIGEN_API_KEY.")
_ERRORS = {
    401: "The API key is missing or wrong.",
    413: "The body is too large.",
    422: "The request is at fault; the message names the field.",
    429: "Too many requests wait already: try again after `Retry-After` seconds.",
    503: "The worker was lost: try again after `Retry-After` seconds.",
    504: "The samples were not made in time.",
}


class Backend(Protocol):
    """Who makes the samples."""

    async def make(self, order: Order) -> list[SampleFile]:
        """The files of an order. Raises Refused(429) when too much waits, Refused(503) when a worker was lost."""


class Problem(BaseModel):
    """The answer to a request that is refused."""

    detail: str


class Health(BaseModel):
    """The answer of `GET /v1/healthz`."""

    status: str = "ok"
    model_sha256: str


def make_app(
    backend: Backend, model: ModelInfo, *, request_timeout_s: float = 300.0, key_sha256: str | None = None
) -> FastAPI:
    """The web application around a backend and the model that it runs.

    `key_sha256` is the hex digest of the API key that clients must send, or None for none.
    """
    app = FastAPI(
        title="mrigen",
        version=__version__,
        summary="Synthetic brain MRI of a chosen pathology and modality.",
        description="Every image is synthetic: no scan of a person, and not for diagnosis.",
        docs_url=None,  # FastAPI's page loads scripts from the network; ours does not
        redoc_url=None,
    )

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"detail": error.detail}, error.status, headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "an error of the server: its log holds the reason"}, 500)

    async def authenticate(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> None:
        if key_sha256 is None:
            return
        given = hashlib.sha256((credentials.credentials if credentials else "").encode()).hexdigest()
        if not hmac.compare_digest(given, key_sha256):
            raise Refused(401, "send the API key, with the header Authorization: Bearer KEY")

    v1 = APIRouter(prefix="/v1", dependencies=[Depends(authenticate)], responses={401: _problem(401)})

    @v1.post("/samples", **_SAMPLES_DOCS)
    async def samples(request: Request) -> Response:
        """Draw samples of one pathology in one modality.

        One sample is answered as the file itself; more as a zip archive with an `index.json`. The `X-Mrigen-*`
        headers hold all that makes the images again.
        """
        body = parse_body(await _read(request), request.headers.get("content-type"))
        order = place_order(body, model)
        try:
            async with asyncio.timeout(request_timeout_s):
                files = await backend.make(order)
        except TimeoutError:
            raise Refused(
                504,
                f"not made within {request_timeout_s:g} s: ask for fewer samples or steps",
                retry_after_s=BUSY_RETRY_S,
            ) from None
        return await asyncio.to_thread(_answer, order, files)

    @v1.get("/model")
    async def describe_model() -> ModelInfo:
        """The model behind this server: its hash, what it was trained on, its defaults and limits."""
        return model

    @app.get("/v1/healthz")
    async def healthz() -> Health:
        """Whether requests are taken. Needs no API key."""
        return Health(model_sha256=model.sha256)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse((Path(__file__).parent / "docs.html").read_text(encoding="utf-8"))

    app.include_router(v1)
    return app


def _problem(status: int) -> dict[str, Any]:
    return {"model": Problem, "description": _ERRORS[status]}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SAMPLES_DOCS: dict[str, Any] = {
    "response_class": Response,
    "openapi_extra": {
        "requestBody": {"required": True, "content": {"application/json": {"schema": SampleBody.model_json_schema()}}}
    },
    "responses": {
        200: {
            "description": "One file, or a zip archive of several.",
            "content": dict.fromkeys([*dict.fromkeys(MEDIA_TYPES.values()), "application/zip"], _BINARY),
        },
        **{status: _problem(status) for status in _ERRORS if status != 401},
    },
}


async def _read(request: Request) -> bytes:
    """The body, up to the limit, within a time that no honest client needs."""
    too_large = Refused(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    return bytes(raw)


def _answer(order: Order, files: list[SampleFile]) -> Response:
    headers = provenance_headers(files)
    if order.count == 1:
        content, media_type, name = files[0].data, MEDIA_TYPES[order.format], files[0].name
    else:
        content, media_type, name = archive(files), "application/zip", f"{stem(order)}.zip"
    kind = "inline" if media_type == "image/png" else "attachment"
    return Response(
        content, media_type=media_type, headers=headers | {"Content-Disposition": f'{kind}; filename="{name}"'}
    )
