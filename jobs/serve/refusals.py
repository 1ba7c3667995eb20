"""How a request is refused: by a status, and one line that says why."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

RETRY_S = 2
"""What a client is asked to wait where nothing is known yet."""
LEFT = 499
"""Status in log and figures of a request whose client left before it was answered."""
_REASONS = {
    401: "The API key is missing or wrong.",
    403: "A page of another origin asks.",
    404: "There is no such job.",
    405: "Another method is needed.",
    408: "The body did not arrive in time.",
    409: "The job is not done.",
    413: "The body is too large.",
    415: "The body is compressed.",
    421: "The header `Host` names another machine.",
    422: "The request is at fault; the message names the field.",
    429: "Too many requests wait already: try again after `Retry-After` seconds.",
    503: "The worker was lost, or the server is stopping: try again after `Retry-After` seconds.",
    504: "The samples were not made in time.",
}


class Refused(Exception):
    """A request that is answered with `status` and one line that says why."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after_s = status, detail, retry_after_s


class Problem(BaseModel):
    """The answer to a request that is refused."""

    detail: str


def answer_of(error: Refused) -> JSONResponse:
    """The answer to a request that is refused."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"detail": error.detail}, error.status, headers)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes answers of these statuses."""
    return {status: {"model": Problem, "description": _REASONS[status]} for status in statuses}
