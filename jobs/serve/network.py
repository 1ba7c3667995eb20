"""Where the server listens."""

from __future__ import annotations

import ipaddress
import socket

from mrigen.errors import InputError


def check_port(host: str, port: int) -> None:
    """Raise InputError unless this machine can listen there now."""
    try:
        if not host:
            raise socket.gaierror
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except (socket.gaierror, UnicodeError):
        raise InputError(f"--host {host!r}: no such address; 127.0.0.1 is this machine alone") from None
    except OSError as error:
        raise InputError(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}; choose another with --port"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def base_url(host: str, port: int) -> str:
    """The address to type: for a server that listens everywhere, this machine's name."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
