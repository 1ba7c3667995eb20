"""HTTP by hand, for what no client would send."""

from __future__ import annotations

import contextlib
import json
import socket
import time


def send(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What the server answers until it closes the connection, or nothing more comes for three seconds."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(3)
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
        with contextlib.suppress(OSError):
            while more := connection.recv(65536):
                answer += more
    return answer


def status_and_detail(answer: bytes) -> tuple[int, str]:
    """Of an answer whose body is JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]
