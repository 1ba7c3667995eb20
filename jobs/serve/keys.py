"""The keys that clients must send: one from the environment, or many from a file of names and hashes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from mrigen.errors import InputError

KEY_VARIABLE = "MRIGEN_API_KEY"
MIN_KEY = 16
_REREAD_S = 1.0
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})\s+([0-9a-f]{64})")


class Keys:
    """Names of clients by the SHA-256 of their keys. A file that changes is read again within a second."""

    def __init__(self, names: Mapping[str, str], file: Path | None = None) -> None:
        self._names, self._file = dict(names), file
        self._read_at = time.monotonic()

    @classmethod
    def read(cls, file: str | None) -> Self | None:
        """Those of `file`, else that of MRIGEN_API_KEY; None if there is neither.

        The variable is taken out of the environment, which other processes inherit. Raises InputError for a file that
        is no list of keys, and for a key that is easily guessed.
        """
        key = os.environ.pop(KEY_VARIABLE, None)
        if file is not None:
            return cls(_names_of(Path(file)), Path(file))
        if key is None:
            return None
        if len(key) < MIN_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"{KEY_VARIABLE} must be at least {MIN_KEY} printable ASCII characters; unset it for no key"
            )
        return cls({hashlib.sha256(key.encode()).hexdigest(): KEY_VARIABLE})

    def name_of(self, key: str) -> str | None:
        """Whose key it is; None if nobody's. All are compared, each in constant time."""
        self._read_again()
        given = hashlib.sha256(key.encode()).hexdigest()
        found = [name for digest, name in self._names.items() if hmac.compare_digest(digest, given)]
        return found[0] if found else None

    def _read_again(self) -> None:
        if self._file is None or time.monotonic() < self._read_at + _REREAD_S:
            return
        self._read_at = time.monotonic()
        try:
            self._names = _names_of(self._file)
        except InputError as error:
            logging.getLogger("mrigen").warning("the keys stay as they were: %s", error)


def _names_of(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--keys {file}: {getattr(error, 'strerror', None) or 'not ASCII text'}") from None
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if (match := _LINE.fullmatch(line.strip())) is None:
            raise InputError(f"--keys {file} line {number}: not a name and the SHA-256 of a key in hexadecimal digits")
        names[match[2]] = match[1]
    if not names:
        raise InputError(f"--keys {file}: holds no key")
    return names
