"""A request's body: read within bounds, and parsed strictly. What is wrong with it is told in one line."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from jobs.serve.refusals import LEFT, Refused

Body = TypeVar("Body", bound=BaseModel)

BODY_TIMEOUT_S = 10.0
_SHOWN_FAULTS = 4


async def read_body(request: Request, kind: type[Body], max_bytes: int) -> Body:
    """A request's body. Raises Refused that names the field and says what would be right."""
    return _parse(await _read(request, max_bytes), request.headers.get("content-type"), kind)


def shown(value: Any) -> str:
    """A value as a message may repeat it: ASCII and short, whatever was sent."""
    text = ascii(value) if not isinstance(value, list | dict | bool | None) else _json_type(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body, up to the limit, within a time that no honest client needs."""
    if (encoding := request.headers.get("content-encoding", "identity")).casefold() != "identity":
        raise Refused(415, f"Content-Encoding is {shown(encoding)}: send the body as it is")
    too_large = Refused(413, f"the body is larger than {max_bytes} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise Refused(LEFT, "the client left") from None  # which nobody reads
    return bytes(raw)


def _parse(raw: bytes, content_type: str | None, kind: type[Body]) -> Body:
    if (content_type or "").split(";")[0].strip().casefold() != "application/json":
        raise Refused(422, "send the body as JSON, with the header Content-Type: application/json")
    if not raw.strip():
        raise Refused(422, "the body is empty: send a JSON object of fields")
    try:
        tree = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except UnicodeDecodeError:
        raise Refused(422, "the body is not UTF-8 text") from None
    except RecursionError:
        raise Refused(422, "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Refused(422, f"the body is not JSON: {error.msg.removesuffix(' at')} at character {error.pos}") from None
    except ValueError:  # an integer of more digits than Python will read
        raise Refused(422, "the body holds a number with too many digits") from None
    if not isinstance(tree, dict):
        raise Refused(422, f"the body must be a JSON object of fields, not {_json_type(tree)}")
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        faults = [_fault(fault, kind) for fault in error.errors(include_url=False)]
        more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise Refused(422, "; ".join(faults[:_SHOWN_FAULTS]) + more) from None


def _fault(fault: Mapping[str, Any], kind: type[BaseModel]) -> str:
    field = str(fault["loc"][0]) if fault["loc"] else "body"
    if fault["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(field, kind.model_fields, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(kind.model_fields)}"
        return f"unknown field {shown(field)}: {hint}"
    if fault["type"] == "missing":
        return f"{field}: this field is required"
    if isinstance(cause := fault.get("ctx", {}).get("error"), ValueError):
        return f"{field}: {cause}"
    message = str(fault["msg"]).removeprefix("Input should be ")
    return f"{field}: must be {message}, got {shown(fault['input'])}"


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")


def _refuse_constant(name: str) -> NoReturn:
    raise Refused(422, f"the body holds {name}, which is not JSON: numbers must be finite")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise Refused(422, "the body gives a field twice")
    return tree
