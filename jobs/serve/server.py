"""The web server: uvicorn, with limits on what a client may send and on how long it may take, and a way to stop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from socket import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jobs.serve.guard import Door

MAX_HEADER_BYTES = 64 * 1024
HEADERS_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 1000
_TOO_LARGE = f"the headers are larger than {MAX_HEADER_BYTES} bytes"


class BoundedProtocol(H11Protocol):
    """Headers must arrive within a time and a size, and connections are no more than there are handles for."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        # h11 bounds what it waits for: headers that come whole in one piece may be larger.
        if self.conn.their_state is h11.IDLE and len(data.partition(b"\r\n\r\n")[0]) > MAX_HEADER_BYTES:
            self._refuse(431, _TOO_LARGE)
            return
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Called where h11 finds a request that is none."""
        if len(self.conn.trailing_data[0]) > MAX_HEADER_BYTES:
            self._refuse(431, _TOO_LARGE)
        else:
            self._refuse(400, "this is not HTTP")

    def _watch_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._late is None:
            self._late = self.loop.call_later(
                HEADERS_TIMEOUT_S, self._refuse, 408, f"the headers did not arrive within {HEADERS_TIMEOUT_S:g} s"
            )

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"detail": detail}).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ]
            for event in (
                h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode()),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class DrainingServer(uvicorn.Server):
    """At the first signal takes no more work and ends what was accepted, within `drain_s`; at the second, at once."""

    def __init__(
        self, app: Any, host: str, port: int, *, door: Door, drain_s: float, on_start: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=BoundedProtocol,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                ws="none",
                lifespan="off",
                server_header=False,
                access_log=False,
                log_level="error",
                timeout_graceful_shutdown=2,  # for answers to go out
            )
        )
        self._door, self._drain_s, self._on_start = door, drain_s, on_start

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Called by uvicorn, which listens afterwards."""
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal."""
        if self._door.closed_at is not None:
            self._drain_s = 0.0
        self._door.close()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if (closed_at := self._door.closed_at) is not None:
            if not self._door.emptied and time.monotonic() >= closed_at + self._drain_s:
                self._door.empty()
            self.should_exit = not self._door.inside
        return await super().on_tick(counter)
