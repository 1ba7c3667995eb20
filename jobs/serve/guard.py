"""What stands before the application: who may ask, what browsers must keep to, the access log, and the way to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import secrets
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.serve.meter import Meter
from jobs.serve.reading import shown
from jobs.serve.refusals import LEFT, Refused, answer_of

STRICT = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""Headers of every answer: no guessing of types, no frames, no use by pages of others."""
STOPPING_RETRY_S = 5
QUIET = ("/v1/healthz", "/v1/livez", "/v1/readyz", "/metrics")
"""What is asked every few seconds, and leaves no line in the access log."""
_OPEN_WHILE_STOPPING = ("/v1/healthz", "/v1/livez", "/metrics")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Door:
    """Who is inside. Once closed it lets nobody in; who is left may be sent away."""

    def __init__(self) -> None:
        self.inside: set[asyncio.Task[Any]] = set()
        self.closed_at: float | None = None
        self.emptied = False

    def close(self) -> None:
        """Let nobody in from now on."""
        self.closed_at = self.closed_at or time.monotonic()

    def empty(self) -> None:
        """End the work of all who are inside; they are answered by 503."""
        self.emptied = True
        for task in self.inside:
            task.cancel()


def own_names() -> frozenset[str]:
    """Names by which this machine may be asked where no key is needed."""
    return frozenset({"localhost", socket.gethostname().casefold()})


def check_origin(headers: Headers, names: frozenset[str]) -> None:
    """Raise Refused for what a web page of another site can have a browser send to a server on this machine.

    A page whose name is made to resolve to this machine sends that name as `Host`; an address is no such name.
    """
    host = headers.get("host")
    if host is not None and not _is_own(_host_name(host), names):
        raise Refused(
            421, f"Host is {shown(host)}: ask by an IP address or {', '.join(sorted(names))}, or start it with a key"
        )
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Refused(403, "a page of another origin asks: a server without a key answers its own pages only")


class Guard:
    """ASGI middleware, outermost: no answer goes out without it. `names` is None where a key is asked for."""

    def __init__(self, app: ASGIApp, *, door: Door, meter: Meter, names: frozenset[str] | None) -> None:
        self._app, self._door, self._meter, self._names = app, door, meter, names
        self._log = access_log()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.perf_counter()
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        # HEAD is GET whose body the server does not send. The application's notes on the request are read below.
        head = scope["method"] == "HEAD"
        inside = {**scope, "method": "GET" if head else scope["method"], "head": head, "state": {}}
        status = 0  # until an answer is begun

        async def strict(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**STRICT, "X-Request-ID": request_id})
            await send(message)

        task = asyncio.current_task()
        assert task is not None
        try:
            self._admit(scope["path"], headers)
            self._door.inside.add(task)
            try:
                await self._app(inside, receive, strict)
            finally:
                self._door.inside.discard(task)
        except Refused as error:
            await answer_of(error)(scope, receive, strict)
        except asyncio.CancelledError:
            if not self._door.emptied or status:
                status = status or LEFT
                raise
            task.uncancel()
            await answer_of(_stopping())(scope, receive, strict)
        except Exception:
            logging.getLogger("mrigen").exception("request %s", request_id)
            if status:
                raise
            await answer_of(Refused(500, "an error of the server: its log holds the reason"))(scope, receive, strict)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(inside.get("route"), "path", "other")
            self._meter.note_request(route, scope["method"], status, seconds)
            if scope["path"] not in QUIET or status >= 500:
                self._log.info(
                    json.dumps(
                        {
                            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                            "id": request_id,
                            "from": (scope.get("client") or ["?"])[0],
                            "method": scope["method"],
                            "path": scope["path"][:200],
                            "status": status,
                            "seconds": round(seconds, 4),
                            **inside["state"],
                        }
                    )
                )

    def _admit(self, path: str, headers: Headers) -> None:
        if self._names is not None:
            check_origin(headers, self._names)
        if self._door.closed_at is not None and path not in _OPEN_WHILE_STOPPING:
            raise _stopping()


def access_log() -> logging.Logger:
    """The logger of a line of JSON for each request, on standard error unless it was given a handler."""
    log = logging.getLogger("mrigen.access")
    if not log.handlers:
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(logging.StreamHandler())
    return log


def _stopping() -> Refused:
    return Refused(503, "the server is stopping", retry_after_s=STOPPING_RETRY_S)


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").casefold()
    except ValueError:
        return ""


def _is_own(name: str, names: frozenset[str]) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True
