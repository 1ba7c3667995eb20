"""The keys that clients must send: one from the environment, or many from a file; and what each may ask for."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fastapi import Request

from jobs.serve.refusals import Refused
from mrigen.errors import InputError

KEY_VARIABLE = "MRIGEN_API_KEY"
MIN_KEY = 16
_REREAD_S = 1.0
_MINUTE, _DAY = 60.0, 86400.0
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})\s+([0-9a-f]{64})((?:\s+(?:rate|quota)=\d{1,12})*)")


@dataclass(frozen=True)
class Client:
    """Whose key it is, and the most that is answered: requests a minute, and samples a day of UTC."""

    name: str
    rate: int | None = None
    quota: int | None = None


@dataclass
class _Used:
    """What a client has asked for of late."""

    allowance: float
    """Requests that may come at once; it fills up by the rate."""
    asked_at: float
    day: int = 0
    samples: int = 0


class Keys:
    """Clients by the SHA-256 of their keys. A file that changes is read again within a second."""

    def __init__(self, clients: Mapping[str, Client], file: Path | None = None) -> None:
        self._clients, self._file = dict(clients), file
        self._read_at = time.monotonic()
        self._used: dict[str, _Used] = {}

    @classmethod
    def read(cls, file: str | None) -> Self | None:
        """Those of `file`, else that of MRIGEN_API_KEY; None if there is neither.

        The variable is taken out of the environment, which other processes inherit. Raises InputError for a file that
        is no list of keys, and for a key that is easily guessed.
        """
        key = os.environ.pop(KEY_VARIABLE, None)
        if file is not None:
            return cls(_clients_of(Path(file)), Path(file))
        if key is None:
            return None
        if len(key) < MIN_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"{KEY_VARIABLE} must be at least {MIN_KEY} printable ASCII characters; unset it for no key"
            )
        return cls({hashlib.sha256(key.encode()).hexdigest(): Client(KEY_VARIABLE)})

    def client_of(self, key: str) -> Client | None:
        """Whose key it is; None if nobody's. All are compared, each in constant time."""
        self._read_again()
        given = hashlib.sha256(key.encode()).hexdigest()
        found = [client for digest, client in self._clients.items() if hmac.compare_digest(digest, given)]
        return found[0] if found else None

    def admit(self, client: Client) -> None:
        """Count a request against a client's rate. Raises Refused(429) if it is above it."""
        if client.rate is None:
            return
        used, now = self._used_by(client), time.monotonic()
        refilled = used.allowance + (now - used.asked_at) * client.rate / _MINUTE
        used.allowance, used.asked_at = min(refilled, float(client.rate)), now
        if used.allowance < 1:
            wait_s = math.ceil((1 - used.allowance) * _MINUTE / client.rate) if client.rate else _MINUTE
            told = f"the key {client.name} may ask {client.rate} times a minute"
            raise Refused(429, told, retry_after_s=int(wait_s))
        used.allowance -= 1

    def charge(self, name: str | None, num_samples: int) -> None:
        """Count samples against a client's quota; a negative number gives them back.

        Raises Refused(429) if the quota is less.
        """
        client = next((client for client in self._clients.values() if client.name == name), None)
        if client is None or client.quota is None:
            return
        used, now = self._used_by(client), time.time()
        if used.day != now // _DAY:
            used.day, used.samples = int(now // _DAY), 0
        if num_samples > 0 and used.samples + num_samples > client.quota:  # which a new file may have lowered
            left = max(client.quota - used.samples, 0)
            told = f"the key {client.name} may have {client.quota} samples a day, and has {left} left until 00:00 UTC"
            raise Refused(429, told, retry_after_s=math.ceil(_DAY - now % _DAY))
        used.samples = max(used.samples + num_samples, 0)

    def _used_by(self, client: Client) -> _Used:
        return self._used.setdefault(client.name, _Used(float(client.rate or 0), time.monotonic()))

    def _read_again(self) -> None:
        if self._file is None or time.monotonic() < self._read_at + _REREAD_S:
            return
        self._read_at = time.monotonic()
        try:
            self._clients = _clients_of(self._file)
        except InputError as error:
            logging.getLogger("mrigen").warning("the keys stay as they were: %s", error)


@contextmanager
def charged(keys: Keys | None, name: str | None, num_samples: int) -> Iterator[None]:
    """Samples that are made within count against the quota of the key of this name, unless making them fails.

    Raises Refused(429) if the quota is less.
    """
    if keys is not None:
        keys.charge(name, num_samples)
    try:
        yield
    except BaseException:
        if keys is not None:
            keys.charge(name, -num_samples)
        raise


def key_of(request: Request) -> str | None:
    """Name of the key that a request came with; None where none is asked for."""
    name: str | None = getattr(request.state, "key", None)
    return name


def _clients_of(file: Path) -> dict[str, Client]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--keys {file}: {getattr(error, 'strerror', None) or 'not ASCII text'}") from None
    clients: dict[str, Client] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if (match := _LINE.fullmatch(line.strip())) is None:
            told = "not a name and the SHA-256 of a key in hexadecimal digits, with rate=N and quota=N if wanted"
            raise InputError(f"--keys {file} line {number}: {told}")
        limits = dict(word.split("=") for word in match[3].split())
        clients[match[2]] = Client(match[1], **{name: int(most) for name, most in limits.items()})
    if not clients:
        raise InputError(f"--keys {file}: holds no key")
    return clients
