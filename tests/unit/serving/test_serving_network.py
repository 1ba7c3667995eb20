"""Where the server listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from jobs.serve.network import base_url, check_port, is_loopback
from mrigen.errors import InputError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_told(taken_port: int) -> None:
    with pytest.raises(InputError, match=f"port {taken_port}: address already in use; choose another with --port"):
        check_port("127.0.0.1", taken_port)


def test_a_port_that_was_just_left_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    check_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "1.2.3.4.5", "", "a" * 300, "[::1]"])
def test_an_impossible_host_is_told(host: str) -> None:
    with pytest.raises(InputError, match="no such address"):
        check_port(host, 8000)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1 port"):
        check_port("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.0.0.53", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("box.lan", False),
    ],
)
def test_loopback(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("0.0.0.0", f"http://{socket.gethostname()}:80"),
    ],
)
def test_the_url_can_be_typed(host: str, url: str) -> None:
    assert base_url(host, 80) == url
